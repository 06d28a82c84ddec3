// Rows of embedding tables for the tokens of a pass.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/device.h"
#include "model/forward.h"
#include "offload/packed_store.h"
#include "offload/resident_weights.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

// Finds rows of one embedding table: in memory where its segments are resident, else by reading
// just these rows. For a device with memory of its own, rows from elsewhere are gathered in pinned
// memory and copied. Threads: one.
class EmbeddingReader {
 public:
  // role: kTokenEmbedding or kPositionEmbedding. References must outlive this; `prefetcher` may be
  // null when every segment of the table is resident.
  EmbeddingReader(MatrixRole role, const PackedStore& store, const ResidentWeights& resident,
                  const File& weights, Prefetcher* prefetcher, int64_t max_rows, Device& device);
  bool exists() const { return !runs_.empty(); }
  // Bytes that the constructor allocates for rows that are read; on a device with memory of its own
  // as much again of pinned host memory.
  static int64_t staging_bytes(MatrixRole role, const ModelLayout& layout,
                               const std::vector<bool>& resident, int64_t max_rows);

  // Adds the reads that rows `ids` need to `requests`, and gives where the rows will be. Valid
  // until the next call.
  EmbeddingRows locate(std::span<const int32_t> ids, int64_t id_offset,
                       std::vector<RowRequest>& requests);
  // Copies the rows that were not on the device, when they have been read.
  void upload(Stream& stream);

 private:
  struct Run {
    int64_t begin, end;     // rows of the table
    int64_t file_offset;    // of row `begin`
    const std::byte* data;  // of row `begin` in device memory, null if not resident
    const std::byte* host;  // of row `begin` in host memory beside the device, null if not there
  };
  const Run& run_of(int64_t row) const;

  const File& weights_;
  std::vector<Run> runs_;
  DType dtype_ = DType::kF32;
  int64_t row_bytes_ = 0;
  Buffer staging_;      // of rows that are read: device memory, or pinned
  Buffer device_rows_;  // the same on a device with memory of its own
  int64_t staged_bytes_ = 0;
  std::vector<int64_t> byte_offsets_;
};

}  // namespace zerostream
