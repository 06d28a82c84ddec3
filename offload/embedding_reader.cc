#include "offload/embedding_reader.h"

#include <string>

#include "base/require.h"

namespace zerostream {

int64_t EmbeddingReader::staging_bytes(MatrixRole role, const ModelLayout& layout,
                                       const std::vector<bool>& resident, int64_t max_rows) {
  for (size_t i = 0; i < layout.segments.size(); ++i)
    for (const StoredMatrix& matrix : layout.segments[i].matrices)
      if (matrix.role == role && !resident[i])
        return max_rows * row_staging_bytes(dtype_bytes(matrix.dtype, matrix.inputs));
  return 0;
}

EmbeddingReader::EmbeddingReader(MatrixRole role, const PackedStore& store,
                                 const ResidentWeights& resident, const File& weights,
                                 Prefetcher* prefetcher, int64_t max_rows, Device& device)
    : weights_(weights) {
  bool reads = false;
  for (size_t i = 0; i < store.segments().size(); ++i) {
    const Segment& segment = store.segments()[i];
    for (const StoredMatrix& matrix : segment.matrices) {
      if (matrix.role != role) continue;
      const std::byte* data = resident.segment(static_cast<int32_t>(i));
      dtype_ = matrix.dtype;
      row_bytes_ = dtype_bytes(matrix.dtype, matrix.inputs);
      runs_.push_back({matrix.output_begin, matrix.output_begin + matrix.outputs,
                       segment.offset + matrix.offset,
                       data == nullptr ? nullptr : data + matrix.offset});
      reads |= data == nullptr;
    }
  }
  if (reads) {
    require(prefetcher != nullptr, "a table that is not resident has a prefetcher to read it");
    staging_ = device.allocate(max_rows * row_staging_bytes(row_bytes_));
  }
  byte_offsets_.reserve(max_rows);
}

const EmbeddingReader::Run& EmbeddingReader::run_of(int64_t row) const {
  for (const Run& run : runs_)
    if (row >= run.begin && row < run.end) return run;
  throw InternalError("embedding row " + std::to_string(row) + " is outside of its table");
}

// Offsets are counted from the staging buffer also for resident rows: a table is one base address
// to the kernel, whatever memory its rows lie in.
EmbeddingRows EmbeddingReader::locate(std::span<const int32_t> ids, int64_t id_offset,
                                      std::vector<RowRequest>& requests) {
  byte_offsets_.clear();
  const std::byte* base = staging_.data() != nullptr ? staging_.data() : runs_.front().data;
  std::byte* target = staging_.data();
  for (const int32_t id : ids) {
    const Run& run = run_of(id + id_offset);
    const int64_t within = (id + id_offset - run.begin) * row_bytes_;
    if (run.data != nullptr) {
      byte_offsets_.push_back(run.data + within - base);
      continue;
    }
    const int64_t file_offset = run.file_offset + within;
    requests.push_back({&weights_, file_offset, row_bytes_, target});
    byte_offsets_.push_back(target + file_offset % kTileBytes - base);
    target += row_staging_bytes(row_bytes_);
  }
  return {base, dtype_, byte_offsets_.data()};
}

}  // namespace zerostream
