#include "offload/weights_writer.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <map>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/digest.h"
#include "nvme/file.h"
#include "nvme/transfer.h"
#include "offload/matrix_packer.h"

namespace zerostream {
namespace {

// Bytes packed at once. A transposed source is read anew for each chunk, so its chunks are large.
constexpr int64_t kChunkBytes = int64_t{16} << 20;
constexpr int64_t kTransposedChunkBytes = int64_t{128} << 20;
constexpr int64_t kPageBytes = 4096;
constexpr unsigned kMaxThreads = 8;

// Two buffers: one is being filled while the other is being written. Buffers are page-aligned, for
// direct files.
class BackgroundWriter {
 public:
  explicit BackgroundWriter(const File& file) : file_(file) {}

  // Memory of at least `bytes` to fill, valid until the second write() from now.
  std::byte* buffer(int64_t bytes) {
    Buffer& buffer = buffers_[filling_];
    if (buffer.size() < bytes) buffer = allocate_host(bytes);
    return buffer.data();
  }
  // Writes the first bytes of buffer(). Errors may come with a later call.
  void write(int64_t offset, int64_t bytes) {
    finish();
    writing_ = std::async(std::launch::async, [this, data = buffers_[filling_].data(), offset,
                                               bytes] { write_fully(file_, offset, data, bytes); });
    filling_ = 1 - filling_;
  }
  void finish() {
    if (writing_.valid()) writing_.get();
  }

 private:
  const File& file_;
  Buffer buffers_[2];
  size_t filling_ = 0;
  std::future<void> writing_;
};

// Panels of a run that are packed at once: whole pages, however many bytes a panel has.
int64_t chunk_panels(const MatrixSpec& spec, int64_t panel_bytes) {
  const bool transposed = !spec.sources.empty() && spec.sources.front().transposed;
  const int64_t most_bytes = transposed ? kTransposedChunkBytes : kChunkBytes;
  const int64_t multiple = kPageBytes / std::gcd(panel_bytes, kPageBytes);
  return round_up(std::max<int64_t>(most_bytes / panel_bytes, 1), multiple);
}

std::vector<float> vector_values(const WeightSource& weights, const VectorSpec& spec) {
  std::vector<float> values(static_cast<size_t>(spec.size * (spec.gated ? 2 : 1)));
  float* target = values.data();
  for (const SourceTensor& source : spec.sources) {
    if (!source.name.empty()) weights.read_vector(spec.role, source, target);
    target += source.rows;
  }
  return values;
}

// Gated halves alternate by 64 as the outputs of their matrix do.
void store_vector(const std::vector<float>& values, const VectorSpec& spec, float* target) {
  const int64_t halves = spec.gated ? 2 : 1;
  const int64_t run = spec.gated ? kPanelOutputs : spec.size;
  for (int64_t half = 0; half < halves; ++half) {
    for (int64_t begin = 0; begin < spec.size; begin += run) {
      std::copy_n(values.data() + half * spec.size + begin, std::min(run, spec.size - begin),
                  target + begin * halves + half * run);
    }
  }
}

class WeightsWriter {
 public:
  WeightsWriter(const WeightSource& weights, const WeightSpecs& specs, const File& file,
                const std::function<void(int64_t, int64_t)>& progress, int64_t total)
      : weights_(weights),
        packer_(weights,
                static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads))),
        writer_(file),
        progress_(progress),
        total_(total) {
    for (const MatrixSpec& spec : specs.matrices) specs_[{spec.role, spec.layer}] = &spec;
  }

  void write_vectors(const std::vector<VectorSpec>& specs, const SegmentLayout& layout,
                     Segment& segment) {
    std::byte* data = writer_.buffer(segment.bytes);
    std::memset(data, 0, static_cast<size_t>(segment.bytes));
    for (size_t i = 0; i < specs.size(); ++i) {
      store_vector(vector_values(weights_, specs[i]), specs[i],
                   reinterpret_cast<float*>(data + layout.vectors[i].offset));
    }
    append(data, segment.offset, segment.bytes);
    finish_segment(segment);
  }

  void write_segment(Segment& segment) {
    for (size_t i = 0; i < segment.matrices.size(); ++i) {
      const StoredMatrix& run = segment.matrices[i];
      const bool last = i + 1 == segment.matrices.size();
      write_run(run, segment.offset, last ? segment.bytes : segment.matrices[i + 1].offset);
    }
    finish_segment(segment);
  }

  void finish() { writer_.finish(); }

 private:
  // `end`: from the segment's begin; zeros fill what the run leaves.
  void write_run(const StoredMatrix& run, int64_t segment_offset, int64_t end) {
    const MatrixSpec& spec = *specs_.at({run.role, run.layer});
    const int64_t panel_bytes = stored_panel_bytes(run);
    const int64_t panels = run.weight(nullptr).panels();
    const int64_t step = chunk_panels(spec, panel_bytes);
    for (int64_t panel = 0; panel < panels; panel += step) {
      const int64_t count = std::min(step, panels - panel);
      const int64_t begin = run.offset + panel * panel_bytes;
      const bool last = panel + count == panels;
      const int64_t used = last ? run.offset + run.bytes() - begin : count * panel_bytes;
      const int64_t bytes = last ? end - begin : used;
      std::byte* data = writer_.buffer(std::max(bytes, count * panel_bytes));
      packer_.pack(spec, run, panel, panel + count, data);
      std::memset(data + used, 0, static_cast<size_t>(bytes - used));
      append(data, segment_offset + begin, bytes);
    }
  }

  void append(const std::byte* data, int64_t offset, int64_t bytes) {
    digest_.update(data, static_cast<size_t>(bytes));
    writer_.write(offset, bytes);
    if (progress_) progress_(offset + bytes, total_);
  }

  void finish_segment(Segment& segment) { segment.digest = std::exchange(digest_, {}).value(); }

  const WeightSource& weights_;
  std::map<std::pair<MatrixRole, int32_t>, const MatrixSpec*> specs_;
  MatrixPacker packer_;
  BackgroundWriter writer_;
  const std::function<void(int64_t, int64_t)>& progress_;
  const int64_t total_;
  Digest digest_;  // of the segment that is being written
};

}  // namespace

void write_weights(const WeightSource& weights, const WeightSpecs& specs, const std::string& path,
                   const std::function<void(int64_t done, int64_t total)>& progress,
                   SegmentLayout& layout) {
  const File file = File::open(path, {.write = true, .direct = true});
  file.allocate(layout.file_bytes);
  WeightsWriter writer(weights, specs, file, progress, layout.file_bytes);
  writer.write_vectors(specs.vectors, layout, layout.vectors_segment);
  for (Segment& segment : layout.segments) writer.write_segment(segment);
  writer.finish();
  file.sync();
  file.drop_cache();
}

}  // namespace zerostream
