// What a model is made of, as a store holds it: enough to plan a run, without weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "model/config.h"
#include "model/weights.h"

namespace zerostream {

inline constexpr int64_t kMaxSegmentBytes = int64_t{256} << 20;

// A run of the outputs of one matrix, inside a segment. Runs begin at whole panels (gated: at whole
// pairs of panels).
struct StoredMatrix {
  MatrixRole role = MatrixRole::kQkv;
  int32_t layer = kNoLayer;
  bool gated = false;
  DType dtype = DType::kF32;
  WeightLayout layout = WeightLayout::kTile64;
  int64_t inputs = 0;
  int64_t output_begin =
      0;  // of this run, in outputs of the whole matrix (gated: of one source, without padding)
  int64_t outputs = 0;     // of this run, likewise
  int64_t offset = 0;      // bytes from the segment's begin, 4 KiB aligned
  int32_t group_size = 0;  // of a quantised matrix, else 0
  bool has_zeros = false;  // of a quantised matrix

  // The view of this run when its segment lies at `segment`; gated runs count 2 * round_up(outputs,
  // 64) outputs.
  PackedWeight weight(const std::byte* segment) const;
  int64_t bytes() const { return weight(nullptr).bytes(); }
};

// One contiguous run of weights.bin, 4 KiB aligned, at most kMaxSegmentBytes, in the order in which
// a pass needs them. Embeddings (layout rows) are segments too; a pass reads them by row when they
// are not resident.
struct Segment {
  std::string name;  // "layers.3.attention", "head.0", ...
  int64_t offset = 0;
  int64_t bytes = 0;    // multiple of 4 KiB
  uint64_t digest = 0;  // XXH3-64
  std::vector<StoredMatrix> matrices;
};

// A vector inside the vectors segment, fp32.
struct StoredVector {
  VectorRole role = VectorRole::kQkvBias;
  int32_t layer = kNoLayer;
  int64_t size = 0;    // elements, padding of gated ones counted
  int64_t offset = 0;  // bytes from the vectors segment's begin, 64-byte aligned
};

// True for segments that hold an embedding table: they are read by row, not fetched.
bool is_embedding(const Segment& segment);

struct ModelLayout {
  ModelConfig config;
  DType dtype = DType::kF32;          // of the layers' matrices
  DType compute_dtype = DType::kF32;  // fp32, fp16 or bf16: of what matrices are multiplied with
  std::vector<Segment> segments;      // in the order of a pass
  Segment vectors_segment;            // norms and biases, fp32, always resident

  // Bytes of all segments, without the vectors.
  int64_t weights_bytes() const;
};

}  // namespace zerostream
