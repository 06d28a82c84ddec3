#include "offload/segment_layout.h"

#include <algorithm>
#include <span>
#include <string>

#include "base/bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kSegmentAlignment = 4096;
constexpr int64_t kVectorAlignment = 64;
// No real model comes near; keeps nonsense from filling the memory with segments.
constexpr int64_t kMaxFileBytes = int64_t{128} << 40;

// The matrices of one group share a segment when they fit.
std::string group_name(const MatrixSpec& spec) {
  switch (spec.role) {
    case MatrixRole::kQkv:
    case MatrixRole::kAttentionOut:
      return "layers." + std::to_string(spec.layer) + ".attention";
    case MatrixRole::kMlpUp:
    case MatrixRole::kMlpDown:
      return "layers." + std::to_string(spec.layer) + ".mlp";
    default:
      return std::string(matrix_role_name(spec.role));
  }
}

std::string piece_name(const MatrixSpec& spec) {
  const std::string group = group_name(spec);
  switch (spec.role) {
    case MatrixRole::kQkv:
      return group + ".qkv";
    case MatrixRole::kAttentionOut:
      return group + ".out";
    case MatrixRole::kMlpUp:
      return group + ".up";
    case MatrixRole::kMlpDown:
      return group + ".down";
    default:
      return group;
  }
}

bool read_by_row(MatrixRole role) {
  return role == MatrixRole::kTokenEmbedding || role == MatrixRole::kPositionEmbedding;
}

bool is_quantised(const MatrixSpec& spec, const StoreFormat& format) {
  if (!format.quantised()) return false;
  return spec.layer != kNoLayer || (spec.role == MatrixRole::kHead && format.quantised_head);
}

StoredMatrix stored_run(const MatrixSpec& spec, const StoreFormat& format, int64_t output_begin,
                        int64_t output_end) {
  StoredMatrix run = stored_matrix(spec, format);
  run.output_begin = output_begin;
  run.outputs = output_end - output_begin;
  return run;
}

int64_t stored_bytes(const MatrixSpec& spec, const StoreFormat& format) {
  return round_up(stored_matrix(spec, format).bytes(), kSegmentAlignment);
}

class Builder {
 public:
  Builder(const StoreFormat& format, int64_t max_segment_bytes)
      : format_(format), max_segment_bytes_(max_segment_bytes) {}

  void add_vectors(const std::vector<VectorSpec>& specs) {
    int64_t bytes = 0;
    for (const VectorSpec& spec : specs) {
      const int64_t size = spec.gated ? 2 * round_up(spec.size, kPanelOutputs) : spec.size;
      result_.vectors.push_back({spec.role, spec.layer, size, bytes});
      bytes = round_up(bytes + dtype_bytes(DType::kF32, size), kVectorAlignment);
    }
    result_.vectors_segment.name = "vectors";
    place(result_.vectors_segment, bytes);
  }

  void add_group(std::span<const MatrixSpec> specs) {
    int64_t bytes = 0;
    for (const MatrixSpec& spec : specs) bytes += stored_bytes(spec, format_);
    if (bytes <= max_segment_bytes_) {
      add_whole(specs);
      return;
    }
    const int64_t target = ceil_div(bytes, ceil_div(bytes, max_segment_bytes_));
    for (const MatrixSpec& spec : specs) add_pieces(spec, target);
  }

  SegmentLayout take() { return std::move(result_); }

 private:
  void place(Segment& segment, int64_t bytes) {
    segment.offset = result_.file_bytes;
    segment.bytes = round_up(bytes, kSegmentAlignment);
    result_.file_bytes += segment.bytes;
    if (result_.file_bytes > kMaxFileBytes) {
      throw CheckpointError("the weights that the config asks for take more than " +
                            format_bytes(kMaxFileBytes));
    }
  }

  void add_whole(std::span<const MatrixSpec> specs) {
    Segment segment;
    segment.name = group_name(specs.front());
    int64_t bytes = 0;
    for (const MatrixSpec& spec : specs) {
      StoredMatrix run = stored_matrix(spec, format_);
      run.offset = bytes;
      bytes += stored_bytes(spec, format_);
      segment.matrices.push_back(run);
    }
    place(segment, bytes);
    result_.segments.push_back(std::move(segment));
  }

  // A unit is what is never cut: the 64 outputs of a panel, gated of both sources.
  void add_pieces(const MatrixSpec& spec, int64_t target_bytes) {
    const int64_t units = ceil_div(spec.outputs, kPanelOutputs);
    const int64_t unit_bytes = stored_run(spec, format_, 0, kPanelOutputs).bytes();
    if (unit_bytes > std::max(max_segment_bytes_, kMaxSegmentBytes)) {
      throw CheckpointError(piece_name(spec) + ": 64 outputs of " + std::to_string(spec.inputs) +
                            " inputs take " + format_bytes(unit_bytes) + ", a segment holds " +
                            format_bytes(std::max(max_segment_bytes_, kMaxSegmentBytes)));
    }
    int64_t pieces = std::min(units, ceil_div(stored_bytes(spec, format_), target_bytes));
    while (pieces < units && ceil_div(units, pieces) * unit_bytes > max_segment_bytes_) ++pieces;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = units * piece / pieces * kPanelOutputs;
      const int64_t end = std::min(units * (piece + 1) / pieces * kPanelOutputs, spec.outputs);
      Segment segment;
      segment.name = piece_name(spec);
      if (pieces > 1) segment.name.append(".").append(std::to_string(piece));
      segment.matrices.push_back(stored_run(spec, format_, begin, end));
      place(segment, segment.matrices.front().bytes());
      result_.segments.push_back(std::move(segment));
    }
  }

  const StoreFormat format_;
  const int64_t max_segment_bytes_;
  SegmentLayout result_;
};

}  // namespace

std::string format_name(const StoreFormat& format) {
  std::string name(dtype_name(format.dtype));
  if (!format.quantised()) return name;
  name.append("-g").append(std::to_string(format.group_size));
  if (format.has_zeros) name += "-asymmetric";
  if (format.quantised_head) name += "-head";
  return name;
}

StoredMatrix stored_matrix(const MatrixSpec& spec, const StoreFormat& format) {
  StoredMatrix run;
  run.role = spec.role;
  run.layer = spec.layer;
  run.gated = spec.gated;
  run.layout = read_by_row(spec.role) ? WeightLayout::kRows : format.layout;
  run.inputs = spec.inputs;
  run.outputs = spec.outputs;
  run.dtype = format.compute_dtype;
  if (is_quantised(spec, format)) {
    run.dtype = format.dtype;
    run.group_size = format.group_size;
    run.has_zeros = format.has_zeros;
  }
  return run;
}

SegmentLayout layout_segments(const WeightSpecs& specs, const StoreFormat& format,
                              int64_t max_segment_bytes) {
  Builder builder(format, max_segment_bytes);
  builder.add_vectors(specs.vectors);
  const std::span<const MatrixSpec> matrices(specs.matrices);
  for (size_t begin = 0, end = 0; begin < matrices.size(); begin = end) {
    const std::string group = group_name(matrices[begin]);
    while (end < matrices.size() && group_name(matrices[end]) == group) ++end;
    builder.add_group(matrices.subspan(begin, end - begin));
  }
  return builder.take();
}

}  // namespace zerostream
