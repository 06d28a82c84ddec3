#include "offload/resident_weights.h"

#include "base/require.h"
#include "offload/segment_loader.h"

namespace zerostream {

ResidentWeights::ResidentWeights(const PackedStore& store, const File& weights,
                                 const std::vector<bool>& resident,
                                 const std::vector<bool>& on_host, Device& device, IoEngine& engine,
                                 const TransferOptions& transfer)
    : segments_(store.segments().size()),
      host_segments_(store.segments().size(), nullptr),
      vectors_(store.config().num_hidden_layers) {
  require(on_host.empty() || !device.shares_host_memory(),
          "host memory is apart from the device's");
  for (size_t i = 0; i < on_host.size(); ++i)
    if (on_host[i]) host_bytes_ += store.segments()[i].bytes;
  host_memory_ = device.allocate_pinned(host_bytes_);
  vectors_memory_ = device.allocate(store.vectors_segment().bytes);

  SegmentLoader loader(weights, device, engine, transfer);
  std::byte* next_on_host = host_memory_.data();
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = store.segments()[i];
    if (resident[i]) {
      segments_[i] = device.allocate(segment.bytes);
      loader.load(segment, segments_[i].data());
      bytes_ += segment.bytes;
    } else if (!on_host.empty() && on_host[i]) {
      loader.read(segment, next_on_host);
      host_segments_[i] = next_on_host;
      next_on_host += segment.bytes;
    }
  }
  loader.load(store.vectors_segment(), vectors_memory_.data());
  loader.finish();
  for (const StoredVector& vector : store.vectors())
    vectors_.set(vector.role, vector.layer,
                 reinterpret_cast<const float*>(vectors_memory_.data() + vector.offset));
}

}  // namespace zerostream
