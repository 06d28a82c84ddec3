// Devices, streams and events: where bytes are computed on, and in what order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/buffer.h"
#include "base/inplace_function.h"

namespace zerostream {

// What a stream runs on the host: small, non-blocking (it posts or counts), and it must not throw.
using HostTask = InplaceFunction<64>;

// A point in a stream. One that was never recorded is not done.
//
// Threads: any. An event is recorded again only after its last record has passed.
class Event {
 public:
  virtual ~Event() = default;
  virtual bool done() const = 0;
  // Blocks the calling thread until the recorded point has passed. Throws InternalError if never
  // recorded, and the stream's error if work before the point failed.
  virtual void wait() = 0;
};

// An ordered queue of work on a device. Calls return at once; the work happens later, in order of
// the calls.
//
// What a call is given (views, arrays, buffers) must stay valid and untouched until the work is
// done. Errors: work that fails stops its stream; the error is thrown by Event::wait() of a later
// event and by synchronize(). Threads: one thread at a time calls a stream.
class Stream {
 public:
  virtual ~Stream() = default;
  // Copies bytes between any two of host, pinned and device memory.
  virtual void copy(void* target, const void* source, int64_t bytes) = 0;
  virtual void record(Event& event) = 0;
  // Work enqueued after this starts only when the event has passed. The event must have been
  // recorded before this call; throws InternalError otherwise.
  virtual void wait(Event& event) = 0;
  // Runs the task on the host once all earlier work is done (also when it failed).
  virtual void run_on_host(HostTask task) = 0;
  // Blocks until everything enqueued is done. For start, end and tests; never in the pass loop.
  virtual void synchronize() = 0;
};

enum class DeviceKind : uint8_t { kCpu, kCuda };

// Memory and streams of one device.
//
// Threads: any. Streams, events and buffers must go before their device.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceKind kind() const = 0;
  // One line for people: processor or GPU name, instruction set or architecture, threads.
  virtual std::string description() const = 0;
  // Device memory, at least 256 bytes aligned, 4 KiB where it is the host's. Throws DeviceError or
  // InfeasibleError with the bytes asked and free.
  virtual Buffer allocate(int64_t bytes) = 0;
  // Host memory that a copy stream reads at full speed, at least 4 KiB aligned.
  virtual Buffer allocate_pinned(int64_t bytes) = 0;
  // True where device memory is host memory: a read may land in a slot without a copy.
  virtual bool shares_host_memory() const = 0;
  // Memory that a compute stream holds besides what is allocated here.
  virtual int64_t scratch_bytes() const = 0;
  // The stream that kernels run on. Its work may use all of the device's arithmetic units.
  virtual std::unique_ptr<Stream> make_compute_stream() = 0;
  virtual std::unique_ptr<Stream> make_copy_stream() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
};

}  // namespace zerostream
