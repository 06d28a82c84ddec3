#include "tests/cuda_emulator/runtime.h"

#include <chrono>
#include <exception>
#include <thread>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/sanitizers.h"

namespace cuda_emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local bool in_callback = false;

}  // namespace

// Never destroyed: streams may outlive the end of main().
Runtime& Runtime::get() {
  static Runtime* runtime = new Runtime;
  return *runtime;
}

cudaError_t Runtime::enter(const std::string& function) {
  if (refuse_in_callback(function)) return cudaErrorNotPermitted;
  if (options().devices == 0) return refuse(cudaErrorNoDevice);
  if (broken() != cudaSuccess) return refuse(broken());
  const cudaError_t planned = take_failure(function);
  return planned == cudaSuccess ? cudaSuccess : refuse(planned, function + " was to fail");
}

bool Runtime::refuse_in_callback(const std::string& function) {
  if (!in_callback) return false;
  broken_ = refuse(cudaErrorNotPermitted, function + " is called from a callback of a stream");
  return true;
}

cudaError_t Runtime::refuse(cudaError_t error, const std::string& why) {
  last_error = error;
  if (why.empty()) return error;
  const std::lock_guard lock(mutex_);
  last_failure_ = why;
  return error;
}

cudaError_t Runtime::take_last_error(bool clear) {
  const cudaError_t error = last_error;
  if (clear) last_error = cudaSuccess;
  return error;
}

void Runtime::run(const std::function<void()>& work) {
  if (broken() != cudaSuccess) return;
  try {
    work();
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    last_failure_ = error.what();
    broken_ = cudaErrorLaunchFailure;
  }
}

void Runtime::run_kernel(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  if (broken() != cudaSuccess) return;
  const cudaError_t planned = take_failure("kernel");
  if (planned != cudaSuccess) {
    broken_ = planned;
    return;
  }
  const uint64_t seed = options().schedule_seed;
  run([&] { run_grid(config.gridDim, config.blockDim, seed, kernel); });
}

// A driver may have one thread for them. With ThreadSanitizer they run beside each other, as they
// may, too: the lock would hide their races.
void Runtime::run_callback(const std::function<void()>& callback) {
  std::unique_lock lock(callbacks_, std::defer_lock);
  if (options().serial_callbacks && !kTsan) lock.lock();
  std::this_thread::sleep_for(std::chrono::microseconds(options().callback_delay_us));
  in_callback = true;
  callback();
  in_callback = false;
}

void Runtime::reset(const Options& options) {
  const std::lock_guard lock(mutex_);
  options_ = options;
  counters_ = {};
  last_failure_.clear();
  failures_.clear();
  broken_ = cudaSuccess;
  last_error = cudaSuccess;
}

Options Runtime::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}

void Runtime::fail_call(const std::string& function, int nth, cudaError_t error) {
  const std::lock_guard lock(mutex_);
  failures_[function] = {nth, error};
}

void Runtime::fail_kernel(int nth, cudaError_t error) { fail_call("kernel", nth, error); }

cudaError_t Runtime::take_failure(const std::string& function) {
  const std::lock_guard lock(mutex_);
  const auto found = failures_.find(function);
  if (found == failures_.end() || --found->second.calls_left > 0) return cudaSuccess;
  const cudaError_t error = found->second.error;
  failures_.erase(found);
  return error;
}

std::string Runtime::last_failure() const {
  const std::lock_guard lock(mutex_);
  return last_failure_;
}

Counters Runtime::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void reset(const Options& options) { Runtime::get().reset(options); }
Counters counters() { return Runtime::get().counters(); }
uint64_t allocated_bytes() { return Runtime::get().memory().used_bytes(); }
std::string last_failure() { return Runtime::get().last_failure(); }
void fail_call(const std::string& function, int nth, cudaError_t error) {
  Runtime::get().fail_call(function, nth, error);
}
void fail_kernel(int nth, cudaError_t error) { Runtime::get().fail_kernel(nth, error); }

}  // namespace cuda_emulator
