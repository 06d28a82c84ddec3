// The operations of base/kernels.h as work that two devices do alike.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"

namespace zerostream {

// A device, its kernels, and memory with the same numbers in it whatever the device.
//
// Threads: one.
class KernelBench {
 public:
  KernelBench(Device& device, Kernels& kernels);

  Device& device() { return device_; }
  Kernels& kernels() { return kernels_; }
  Stream& stream() { return *stream_; }
  // Device memory with these bytes; it stays until clear().
  std::byte* put(const void* data, int64_t bytes);
  template <typename T>
  T* put(const std::vector<T>& values) {
    return reinterpret_cast<T*>(
        put(values.data(), static_cast<int64_t>(values.size() * sizeof(T))));
  }
  // A matrix of normal numbers drawn from `seed`, or of zeros if it is 0.
  TensorView matrix(DType dtype, int64_t rows, int64_t cols, uint64_t seed);
  // Words that are ordinary numbers in every dtype and as scales of quantised groups.
  std::byte* words(int64_t bytes, uint64_t seed);
  std::vector<float> floats(const TensorView& view);
  void get(void* target, const void* source, int64_t bytes);
  void clear() { memory_.clear(); }

 private:
  Device& device_;
  Kernels& kernels_;
  std::unique_ptr<Stream> stream_;
  std::vector<Buffer> memory_;
};

// An operation made ready on one device.
struct KernelWork {
  std::function<void()> enqueue;
  std::function<std::vector<float>()> result;  // what it wrote, after the stream has passed
  double bytes = 0;                            // that it must move to and from memory at least
  double flops = 0;
};

struct KernelCase {
  std::string name;
  double limit = 0;  // of the mean squared error over the mean square
  // `large`: as in a run, for its time; else as large as plain loops can follow.
  std::function<KernelWork(KernelBench& bench, bool large)> make;
};

// All operations, matrix products with all kinds of weights.
std::vector<KernelCase> kernel_cases();

}  // namespace zerostream
