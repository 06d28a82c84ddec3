#include "offload/resident_weights.h"

#include "base/require.h"
#include "nvme/transfer.h"

namespace zerostream {

ResidentWeights::ResidentWeights(const PackedStore& store, const File& weights,
                                 const std::vector<bool>& resident, Device& device,
                                 IoEngine& engine)
    : segments_(store.segments().size()), vectors_(store.config().num_hidden_layers) {
  require(device.shares_host_memory(), "the device's memory can be read into");
  TransferQueue queue(engine, {});
  std::exception_ptr failure;
  const auto load = [&](const Segment& segment, Buffer& memory) {
    if (segment.bytes == 0) return;
    memory = device.allocate(segment.bytes);
    Transfer transfer;
    transfer.file = &weights;
    transfer.offset = segment.offset;
    transfer.data = memory.data();
    transfer.bytes = segment.bytes;
    transfer.done = [&failure, &segment, &weights, data = memory.data()](std::exception_ptr error) {
      try {
        if (error) std::rethrow_exception(error);
        check_digest(segment, data, weights.path());
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
    };
    queue.submit(std::move(transfer));
  };

  load(store.vectors_segment(), vectors_memory_);
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (!resident[i]) continue;
    load(store.segments()[i], segments_[i]);
    bytes_ += store.segments()[i].bytes;
  }
  while (!queue.idle()) queue.pump(true);
  if (failure) std::rethrow_exception(failure);
  for (const StoredVector& vector : store.vectors())
    vectors_.set(vector.role, vector.layer,
                 reinterpret_cast<const float*>(vectors_memory_.data() + vector.offset));
}

}  // namespace zerostream
