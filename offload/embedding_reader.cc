#include "offload/embedding_reader.h"

#include <cstring>
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
  bool reads = false, gathers = false;
  for (size_t i = 0; i < store.segments().size(); ++i) {
    const Segment& segment = store.segments()[i];
    for (const StoredMatrix& matrix : segment.matrices) {
      if (matrix.role != role) continue;
      const std::byte* data = resident.segment(static_cast<int32_t>(i));
      const std::byte* host = resident.host_segment(static_cast<int32_t>(i));
      dtype_ = matrix.dtype;
      row_bytes_ = dtype_bytes(matrix.dtype, matrix.inputs);
      runs_.push_back({matrix.output_begin, matrix.output_begin + matrix.outputs,
                       segment.offset + matrix.offset,
                       data == nullptr ? nullptr : data + matrix.offset,
                       host == nullptr ? nullptr : host + matrix.offset});
      gathers |= data == nullptr;
      reads |= data == nullptr && host == nullptr;
    }
  }
  require(!reads || prefetcher != nullptr,
          "a table that is not resident has a prefetcher to read it");
  if (gathers) {
    const int64_t bytes = max_rows * row_staging_bytes(row_bytes_);
    const bool shared = device.shares_host_memory();
    staging_ = shared ? device.allocate(bytes) : device.allocate_pinned(bytes);
    if (!shared) device_rows_ = device.allocate(bytes);
  }
  byte_offsets_.reserve(max_rows);
}

const EmbeddingReader::Run& EmbeddingReader::run_of(int64_t row) const {
  for (const Run& run : runs_)
    if (row >= run.begin && row < run.end) return run;
  throw InternalError("embedding row " + std::to_string(row) + " is outside of its table");
}

// Offsets are counted from the staged rows also for resident ones: a table is one base address to
// the kernel, whatever memory its rows lie in.
EmbeddingRows EmbeddingReader::locate(std::span<const int32_t> ids, int64_t id_offset,
                                      std::vector<RowRequest>& requests) {
  byte_offsets_.clear();
  const std::byte* staged = device_rows_.data() != nullptr ? device_rows_.data() : staging_.data();
  const std::byte* base = staged != nullptr ? staged : runs_.front().data;
  std::byte* target = staging_.data();
  for (const int32_t id : ids) {
    const Run& run = run_of(id + id_offset);
    const int64_t within = (id + id_offset - run.begin) * row_bytes_;
    if (run.data != nullptr) {
      byte_offsets_.push_back(run.data + within - base);
      continue;
    }
    const int64_t file_offset = run.file_offset + within;
    const int64_t in_page = run.host == nullptr ? file_offset % kTileBytes : 0;
    if (run.host == nullptr)
      requests.push_back({&weights_, file_offset, row_bytes_, target});
    else
      std::memcpy(target, run.host + within, static_cast<size_t>(row_bytes_));
    byte_offsets_.push_back(target - staging_.data() + in_page);
    target += row_staging_bytes(row_bytes_);
  }
  staged_bytes_ = target - staging_.data();
  return {base, dtype_, byte_offsets_.data()};
}

void EmbeddingReader::upload(Stream& stream) {
  if (device_rows_.data() != nullptr && staged_bytes_ > 0)
    stream.copy(device_rows_.data(), staging_.data(), staged_bytes_);
}

}  // namespace zerostream
