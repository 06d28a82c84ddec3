// Weights that stay in memory for the whole run.
#pragma once

#include <cstdint>
#include <vector>

#include "base/device.h"
#include "model/vector_table.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"
#include "offload/packed_store.h"

namespace zerostream {

// Loads segments once, checks their digests, and keeps them: in device memory, or, beside a device
// with memory of its own, in pinned host memory.
// Errors: those of the store, of reading and of the device. Threads: const after construction.
class ResidentWeights {
 public:
  // resident[i]: load segment i to the device. on_host[i]: keep it in host memory; empty: none is.
  // The vectors segment is always on the device.
  ResidentWeights(const PackedStore& store, const File& weights, const std::vector<bool>& resident,
                  const std::vector<bool>& on_host, Device& device, IoEngine& engine,
                  const TransferOptions& transfer);
  // Device memory of segment i; null if it is not resident.
  const std::byte* segment(int32_t index) const { return segments_[index].data(); }
  // Pinned host memory of segment i; null if it is not there.
  const std::byte* host_segment(int32_t index) const { return host_segments_[index]; }
  const VectorTable& vectors() const { return vectors_; }
  int64_t bytes() const { return bytes_; }            // on the device, without the vectors
  int64_t host_bytes() const { return host_bytes_; }  // in pinned host memory

 private:
  std::vector<Buffer> segments_;
  Buffer host_memory_;  // one run, so that it is registered once
  std::vector<const std::byte*> host_segments_;
  Buffer vectors_memory_;
  VectorTable vectors_;
  int64_t bytes_ = 0, host_bytes_ = 0;
};

}  // namespace zerostream
