// Weights that stay in memory for the whole run.
#pragma once

#include <cstdint>
#include <vector>

#include "base/device.h"
#include "model/vector_table.h"
#include "nvme/io_engine.h"
#include "offload/packed_store.h"

namespace zerostream {

// Loads segments once, checks their digests, and keeps them in device memory.
// Errors: those of the store and of reading. Threads: const after construction.
class ResidentWeights {
 public:
  // resident[i]: load segment i. The vectors segment is always loaded.
  ResidentWeights(const PackedStore& store, const File& weights, const std::vector<bool>& resident,
                  Device& device, IoEngine& engine);
  // Device memory of segment i; null if it is not resident.
  const std::byte* segment(int32_t index) const { return segments_[index].data(); }
  const VectorTable& vectors() const { return vectors_; }
  int64_t bytes() const { return bytes_; }  // of segments, without the vectors

 private:
  std::vector<Buffer> segments_;
  Buffer vectors_memory_;
  VectorTable vectors_;
  int64_t bytes_ = 0;
};

}  // namespace zerostream
