// The small arrays of a pass where the kernels of a device read and write them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "base/tensor.h"
#include "model/config.h"

namespace zerostream {

// On a device that shares host memory the callers' arrays serve as they are, and nothing here does
// anything. On others they are gathered in pinned memory, and a stream copies them on; what kernels
// write into them comes back the same way. Work between begin() and the end of the stream's work is
// one round: begin(), put(), upload(), kernels, download(), the stream passes, finish().
//
// Allocates at construction, and in begin() when a round is larger than any before. Threads: one.
class DeviceArrays {
 public:
  // `bytes`: of a round, of pinned and of device memory each.
  DeviceArrays(Device& device, int64_t bytes);

  // What a pass puts at most, while rows are no longer than `longest_row` tokens.
  static int64_t pass_bytes(const ModelConfig& config, int64_t max_tokens, int64_t max_sequences,
                            int64_t longest_row, int32_t block_tokens);
  // Of an array in a round.
  static constexpr int64_t padded(int64_t bytes) { return round_up(bytes, kAlignment); }
  template <typename T>
  static int64_t padded(std::span<T> values) {
    return padded(static_cast<int64_t>(values.size_bytes()));
  }

  // A new round, of padded `bytes` at most. REQUIRES: the streams are done with the last one.
  void begin(int64_t bytes);
  // Where kernels find the array once it is uploaded. The caller's array stays until finish().
  template <typename T>
  T* put(std::span<T> values) {
    return reinterpret_cast<T*>(place(const_cast<std::remove_const_t<T>*>(values.data()),
                                      static_cast<int64_t>(values.size_bytes())));
  }
  // Spans with tables of as many blocks as their positions need, and both on the device.
  std::span<const SequenceSpan> put(std::span<const SequenceSpan> sequences, int32_t block_tokens);
  static int64_t sequence_bytes(std::span<const SequenceSpan> sequences, int32_t block_tokens);
  // The most that they can be.
  static int64_t sequence_bytes(int64_t max_sequences, int64_t longest_row, int32_t block_tokens);
  // Copies what was put since the last call.
  void upload(Stream& stream);
  // Copies an array that was put back, for finish().
  template <typename T>
  void download(const T* device_array, std::span<T> target, Stream& stream) {
    download(reinterpret_cast<const std::byte*>(device_array),
             reinterpret_cast<std::byte*>(target.data()), static_cast<int64_t>(target.size_bytes()),
             stream);
  }
  // The stream has passed: what was downloaded is in its targets.
  void finish();

 private:
  static constexpr int64_t kAlignment = 64;
  struct Download {
    int64_t offset = 0;
    std::byte* target = nullptr;
    int64_t bytes = 0;
  };
  void* place(void* values, int64_t bytes);
  void download(const std::byte* place, std::byte* target, int64_t bytes, Stream& stream);

  Device& device_;
  const bool shared_;
  Buffer pinned_, memory_;
  int64_t used_ = 0, uploaded_ = 0;
  std::vector<SequenceSpan> spans_;
  std::vector<Download> downloads_;
};

}  // namespace zerostream
