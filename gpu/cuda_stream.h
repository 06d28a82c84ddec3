// Streams and events of a GPU.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>

#include "base/device.h"

namespace zerostream {

// A point in a CudaStream, see Event. On a device that earlier work broke, wait() throws at once.
class CudaEvent : public Event {
 public:
  // Throws DeviceError.
  explicit CudaEvent(int device);
  ~CudaEvent() override;

  bool done() const override;
  void wait() override;

  // For streams. record: `error` is what stopped the stream before, or null; throws InternalError
  // if there is no error and the last record has not passed. make_wait: throws InternalError if
  // there is no record; returns the error of the record, or null.
  void record(cudaStream_t stream, std::exception_ptr error);
  std::exception_ptr make_wait(cudaStream_t stream);

 private:
  void fail(cudaError_t error, const char* call);

  const int device_;
  cudaEvent_t event_ = nullptr;
  mutable std::mutex mutex_;
  bool recorded_ = false;
  std::exception_ptr error_;  // of a record that never reached the GPU
};

// A stream of CUDA that runs beside all others; see Stream. Copies between the device and pinned
// memory are asynchronous, those of pageable memory are not.
//
// A call that CUDA refuses, because of its arguments or because earlier work broke the device,
// fails the stream: later work is left out, host tasks run in the call, events pass with the error.
// At most kHostTasks host tasks may be queued; one more blocks the caller. No call allocates host
// memory of ours. The destructor waits for what is queued.
class CudaStream : public Stream {
 public:
  static constexpr size_t kHostTasks = 256;

  // Throws DeviceError.
  explicit CudaStream(int device);
  ~CudaStream() override;

  void copy(void* target, const void* source, int64_t bytes) override;
  void record(Event& event) override;
  void wait(Event& event) override;
  void run_on_host(HostTask task) override;
  void synchronize() override;

  // For kernels: launches unless the stream has failed. `name` is shown in errors.
  template <typename... Parameters, typename... Arguments>
  void launch(const char* name, dim3 grid, dim3 block, void (*kernel)(Parameters...),
              Arguments... arguments) {
    if (error_ != nullptr || !use_device()) return;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = stream_;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
  }

  // For libraries: call(stream) enqueues work unless the stream has failed, and returns what went
  // wrong, or "".
  template <typename Call>
  void enqueue(const Call& call) {
    if (error_ != nullptr || !use_device()) return;
    fail(call(stream_));
  }

 private:
  struct Slot {
    std::atomic<bool> busy{false};
    HostTask task;
  };
  static void run_task(cudaStream_t stream, cudaError_t status, void* slot);
  bool use_device();
  void wait_for_host_tasks();
  bool check(cudaError_t error, const char* call);
  void fail(const std::string& what);

  const int device_;
  cudaStream_t stream_ = nullptr;
  std::exception_ptr error_;
  std::unique_ptr<std::array<Slot, kHostTasks>> slots_;
  size_t next_slot_ = 0;
};

}  // namespace zerostream
