// The functions of cuda_runtime.h for streams, events, copies and kernels.
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/cuda_emulator/runtime.h"

using cuda_emulator::Memory;
using cuda_emulator::MemoryKind;
using cuda_emulator::Runtime;

namespace {

// Rows of bytes; one row for a plain copy.
struct Copy {
  void* target;
  size_t target_pitch;
  const void* source;
  size_t source_pitch;
  size_t width;
  size_t height;

  size_t target_bytes() const { return (height - 1) * target_pitch + width; }
  size_t source_bytes() const { return (height - 1) * source_pitch + width; }
  void run() const {
    for (size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(target) + row * target_pitch,
                  static_cast<const char*>(source) + row * source_pitch, width);
  }
};

struct Side {
  bool device = false;
  bool pageable = false;
  bool outside = false;  // leaves its allocation
};

Side side_of(const void* data, size_t bytes) {
  const auto range = Runtime::get().memory().find(data);
  if (!range) return {.pageable = true};
  return {.device = range->kind == MemoryKind::kDevice, .outside = !range->holds(data, bytes)};
}

bool fits(cudaMemcpyKind kind, const Side& target, const Side& source) {
  return kind == cudaMemcpyDefault ||
         static_cast<int>(kind) == (source.device ? 2 : 0) + (target.device ? 1 : 0);
}

CUstream_st* make_stream() {
  return new CUstream_st([] { Runtime::get().memory().allow_this_thread(); },
                         Runtime::get().options().delay_us);
}

// What a copy must hold; `pageable`: whether a side of it is.
cudaError_t check_copy(const Copy& copy, cudaMemcpyKind kind, bool& pageable) {
  Runtime& runtime = Runtime::get();
  const Side target = side_of(copy.target, copy.target_bytes());
  const Side source = side_of(copy.source, copy.source_bytes());
  if (target.outside || source.outside)
    return runtime.refuse(cudaErrorInvalidValue, "a copy leaves its allocation");
  if (!fits(kind, target, source))
    return runtime.refuse(cudaErrorInvalidValue, "the kind of a copy does not fit its pointers");
  pageable = target.pageable || source.pageable;
  return cudaSuccess;
}

cudaError_t enqueue_copy(const Copy& copy, cudaMemcpyKind kind, cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  bool pageable = false;
  if (const cudaError_t error = check_copy(copy, kind, pageable)) return error;
  if (pageable && runtime.options().forbid_pageable_copies)
    return runtime.refuse(cudaErrorInvalidValue, "an asynchronous copy of pageable memory");
  runtime.count([&](auto& counters) {
    ++counters.copies;
    counters.copied_bytes += static_cast<int64_t>(copy.width * copy.height);
    counters.pageable_copies += pageable ? 1 : 0;
  });
  stream->push([copy, delay = std::chrono::microseconds(runtime.options().copy_delay_us)] {
    std::this_thread::sleep_for(delay);
    Runtime::get().run([&] { copy.run(); });
  });
  if (pageable) stream->push_mark()->wait();
  return cudaSuccess;
}

thread_local int64_t own_synchronisations = 0;

void count_synchronisation() {
  ++own_synchronisations;
  Runtime::get().count([](auto& counters) { ++counters.host_synchronisations; });
}

}  // namespace

int64_t cuda_emulator::own_host_synchronisations() { return own_synchronisations; }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = Runtime::get().enter("cudaStreamCreateWithFlags")) return error;
  *stream = make_stream();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (Runtime::get().refuse_in_callback("cudaStreamDestroy")) return cudaErrorNotPermitted;
  delete stream;
  return Runtime::get().broken();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = Runtime::get().enter("cudaStreamSynchronize")) return error;
  count_synchronisation();
  if (stream != nullptr) stream->push_mark()->wait();  // else nothing is left to wait for
  return Runtime::get().broken();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t error = Runtime::get().enter("cudaStreamWaitEvent")) return error;
  const auto mark = event->mark();
  if (mark == nullptr)
    return Runtime::get().refuse(cudaErrorInvalidValue, "a stream waits for an unrecorded event");
  stream->push([mark] { mark->wait(); });
  return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                  unsigned) {
  if (const cudaError_t error = Runtime::get().enter("cudaStreamAddCallback")) return error;
  stream->push([=] {
    Runtime& runtime = Runtime::get();
    runtime.run_callback([&] { callback(stream, runtime.broken(), data); });
  });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (const cudaError_t error = Runtime::get().enter("cudaLaunchHostFunc")) return error;
  stream->push([=] {
    Runtime& runtime = Runtime::get();
    runtime.run([&] { runtime.run_callback([&] { function(data); }); });
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = Runtime::get().enter("cudaEventCreateWithFlags")) return error;
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (Runtime::get().refuse_in_callback("cudaEventDestroy")) return cudaErrorNotPermitted;
  delete event;
  return Runtime::get().broken();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = Runtime::get().enter("cudaEventRecord")) return error;
  event->set_mark(stream->push_mark());
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t error = Runtime::get().enter("cudaEventQuery")) return error;
  const auto mark = event->mark();
  if (mark == nullptr)
    return Runtime::get().refuse(cudaErrorInvalidValue, "an unrecorded event is asked about");
  return mark->passed() ? Runtime::get().broken() : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = Runtime::get().enter("cudaEventSynchronize")) return error;
  const auto mark = event->mark();
  if (mark == nullptr)
    return Runtime::get().refuse(cudaErrorInvalidValue, "the host waits for an unrecorded event");
  count_synchronisation();
  mark->wait();
  return Runtime::get().broken();
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t error = Runtime::get().enter("cudaMemcpyAsync")) return error;
  return enqueue_copy({target, bytes, source, bytes, bytes, 1}, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source,
                              size_t source_pitch, size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (const cudaError_t error = Runtime::get().enter("cudaMemcpy2DAsync")) return error;
  return enqueue_copy({target, target_pitch, source, source_pitch, width, height}, kind, stream);
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = Runtime::get().enter("cudaMemcpy")) return error;
  if (bytes == 0) return cudaSuccess;
  const Copy copy = {target, bytes, source, bytes, bytes, 1};
  bool pageable = false;
  if (const cudaError_t error = check_copy(copy, kind, pageable)) return error;
  count_synchronisation();
  const std::unique_ptr<CUstream_st> stream(make_stream());
  stream->push([copy] { Runtime::get().run([&] { copy.run(); }); });
  stream->push_mark()->wait();
  return Runtime::get().broken();
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = Runtime::get().enter("cudaMemsetAsync")) return error;
  const Side side = side_of(target, bytes);
  if (!side.device || side.outside)
    return Runtime::get().refuse(cudaErrorInvalidValue, "memory is set outside of an allocation");
  stream->push([=] { Runtime::get().run([=] { std::memset(target, value, bytes); }); });
  return cudaSuccess;
}

namespace cuda_emulator {

cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, std::function<void()> kernel) {
  Runtime& runtime = Runtime::get();
  if (const cudaError_t error = runtime.enter("cudaLaunchKernelExC")) return error;
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 || grid.y > 65535 || grid.z == 0 ||
      grid.z > 65535 || threads == 0 || threads > 1024 || block.z > 64)
    return runtime.refuse(cudaErrorInvalidConfiguration, "a grid or block is empty or too large");
  if (config.stream == nullptr || config.dynamicSmemBytes != 0 || config.numAttrs != 0)
    return runtime.refuse(cudaErrorInvalidValue, "a launch asks for what is not emulated");
  runtime.count([](auto& counters) { ++counters.launches; });
  config.stream->push(
      [config, kernel = std::move(kernel)] { Runtime::get().run_kernel(config, kernel); });
  return cudaSuccess;
}

}  // namespace cuda_emulator
