#include "offload/stream_notices.h"

#include <utility>

namespace zerostream {
namespace {

constexpr size_t kPlaces = 512;  // more than a stream queues host tasks

}  // namespace

StreamNotices::StreamNotices(Device& device) : stream_(device.make_copy_stream()) {
  places_.reserve(kPlaces);
  for (size_t i = 0; i < kPlaces; ++i) places_.push_back(device.make_event());
}

void StreamNotices::after(Stream& stream, HostTask task) {
  Event& place = *places_[next_++ % places_.size()];
  if (next_ > places_.size() && !place.done()) place.wait();
  stream.record(place);
  stream_->wait(place);
  stream_->run_on_host(std::move(task));
}

}  // namespace zerostream
