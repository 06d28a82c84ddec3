// State of the emulated runtime, behind the functions of cuda_runtime.h.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/stream.h"

namespace cuda_emulator {

// The one runtime of the process. Threads: any.
class Runtime {
 public:
  static Runtime& get();

  // What a call must do first. Not cudaSuccess: it does nothing and returns that.
  cudaError_t enter(const std::string& function);
  // Breaks the device if this is a callback of a stream, and says whether it is.
  bool refuse_in_callback(const std::string& function);
  // Notes what went wrong and returns `error`, which the thread's cudaGetLastError() gives too.
  cudaError_t refuse(cudaError_t error, const std::string& why = "");
  cudaError_t take_last_error(bool clear);

  // The device's error after a failed kernel, cudaSuccess before.
  cudaError_t broken() const { return broken_; }
  // Runs work of a stream unless the device is broken; what it throws breaks the device.
  void run(const std::function<void()>& work);
  void run_kernel(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);
  void run_callback(const std::function<void()>& callback);

  void reset(const Options& options);
  Options options() const;
  void fail_call(const std::string& function, int nth, cudaError_t error);
  void fail_kernel(int nth, cudaError_t error);
  std::string last_failure() const;

  // Adds to counters.
  template <typename Change>
  void count(const Change& change) {
    const std::lock_guard lock(mutex_);
    change(counters_);
  }
  Counters counters() const;
  Memory& memory() { return memory_; }

 private:
  Memory memory_;
  std::atomic<cudaError_t> broken_{cudaSuccess};
  std::mutex callbacks_;  // held while one runs
  mutable std::mutex mutex_;
  Options options_;
  Counters counters_;
  std::string last_failure_;
  struct Failure {
    int calls_left = 0;
    cudaError_t error = cudaSuccess;
  };
  std::map<std::string, Failure> failures_;  // by function; kernels under "kernel"
  cudaError_t take_failure(const std::string& function);
};

}  // namespace cuda_emulator
