#include "gpu/cuda_stream.h"

#include <utility>

#include "base/require.h"
#include "gpu/cuda_error.h"
#include "gpu/locked_memory.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

CudaEvent& as_cuda_event(Event& event) {
  auto* cuda_event = dynamic_cast<CudaEvent*>(&event);
  require(cuda_event != nullptr, "events of a CUDA stream come from a CUDA device");
  return *cuda_event;
}

std::exception_ptr device_error(cudaError_t error, const char* call, int device) {
  return std::make_exception_ptr(DeviceError(describe_cuda_error(error, call, device)));
}

}  // namespace

CudaEvent::CudaEvent(int device) : device_(device) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice", device);
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync),
             "cudaEventCreateWithFlags", device);
}

CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }

// A broken device answers with its error: what was to come has passed.
bool CudaEvent::done() const {
  const std::lock_guard lock(mutex_);
  return recorded_ && (error_ != nullptr || cudaEventQuery(event_) != cudaErrorNotReady);
}

void CudaEvent::wait() {
  {
    const std::lock_guard lock(mutex_);
    require(recorded_, "an event is recorded before anyone waits for it");
    if (error_ != nullptr) std::rethrow_exception(error_);
  }
  check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize", device_);
}

void CudaEvent::record(cudaStream_t stream, std::exception_ptr error) {
  require(error != nullptr || !recorded_ || done(),
          "an event is recorded again only after its last record passed");
  const std::lock_guard lock(mutex_);
  recorded_ = true;
  error_ = std::move(error);
  if (error_ == nullptr) fail(cudaEventRecord(event_, stream), "cudaEventRecord");
}

std::exception_ptr CudaEvent::make_wait(cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  require(recorded_, "an event is recorded before anyone waits for it");
  if (error_ == nullptr) fail(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
  return error_;
}

void CudaEvent::fail(cudaError_t error, const char* call) {
  if (error != cudaSuccess) error_ = device_error(error, call, device_);
}

CudaStream::CudaStream(int device)
    : device_(device), slots_(std::make_unique<std::array<Slot, kHostTasks>>()) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice", device);
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags", device);
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(stream_);
  wait_for_host_tasks();
  cudaStreamDestroy(stream_);
}

bool CudaStream::check(cudaError_t error, const char* call) {
  if (error != cudaSuccess && error_ == nullptr) error_ = device_error(error, call, device_);
  return error == cudaSuccess;
}

void CudaStream::fail(const std::string& what) {
  if (!what.empty()) error_ = std::make_exception_ptr(DeviceError(what));
}

bool CudaStream::use_device() { return check(cudaSetDevice(device_), "cudaSetDevice"); }

void CudaStream::copy(void* target, const void* source, int64_t bytes) {
  if (error_ != nullptr || bytes == 0 || !use_device()) return;
  for (int64_t at = 0, part = 0; at < bytes; at += part) {
    std::byte* to = static_cast<std::byte*>(target) + at;
    const std::byte* from = static_cast<const std::byte*>(source) + at;
    part = bytes_to_border(to, bytes_to_border(from, bytes - at));
    if (!check(cudaMemcpyAsync(to, from, static_cast<size_t>(part), cudaMemcpyDefault, stream_),
               "cudaMemcpyAsync"))
      return;
  }
}

void CudaStream::record(Event& event) { as_cuda_event(event).record(stream_, error_); }

void CudaStream::wait(Event& event) {
  const std::exception_ptr error = as_cuda_event(event).make_wait(stream_);
  if (error_ == nullptr) error_ = error;
}

// On a broken device CUDA waits for nothing, but still runs what was queued.
void CudaStream::wait_for_host_tasks() {
  for (Slot& slot : *slots_) slot.busy.wait(true);
}

// cudaLaunchHostFunc would drop the task when earlier work failed.
void CudaStream::run_on_host(HostTask task) {
  Slot& slot = (*slots_)[next_slot_++ % kHostTasks];
  slot.busy.wait(true);
  slot.task = std::move(task);
  slot.busy = true;
  if (error_ == nullptr &&
      check(cudaStreamAddCallback(stream_, run_task, &slot, 0), "cudaStreamAddCallback"))
    return;
  task = std::move(slot.task);
  slot.busy = false;
  cudaStreamSynchronize(stream_);
  wait_for_host_tasks();
  task();
}

void CudaStream::run_task(cudaStream_t, cudaError_t, void* data) {
  Slot& slot = *static_cast<Slot*>(data);
  slot.task();
  slot.task = HostTask();
  slot.busy = false;
  slot.busy.notify_all();
}

// What came before a call that was refused still runs.
void CudaStream::synchronize() {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  if (error_ == nullptr) return;
  wait_for_host_tasks();
  std::rethrow_exception(error_);
}

}  // namespace zerostream
