// Host tasks that follow a stream and do not hold it up.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/device.h"

namespace zerostream {

// A stream of a GPU stands still while it runs a host task. These tasks run on another stream,
// which waits for the place in the first that they follow.
//
// Threads: one. Tasks run in order, as Stream::run_on_host() has it, and shortly after the work
// that they follow; where that failed they may run at once. The destructor waits for them.
class StreamNotices {
 public:
  // Throws what the device's streams and events do.
  explicit StreamNotices(Device& device);
  StreamNotices(const StreamNotices&) = delete;

  // Runs the task once all that was enqueued on `stream` up to now is done.
  void after(Stream& stream, HostTask task);
  // Blocks until all tasks have run. Throws the first error of a stream that they followed.
  void synchronize() { stream_->synchronize(); }

 private:
  std::vector<std::unique_ptr<Event>> places_;  // a ring
  size_t next_ = 0;
  std::unique_ptr<Stream> stream_;  // last: it waits for the places
};

}  // namespace zerostream
