// Where each weight of a model goes in a store: a pure function of the model and of how it is
// packed.
#pragma once

#include <cstdint>
#include <vector>

#include "offload/packed_store.h"

namespace zerostream {

struct SegmentLayoutOptions {
  DType dtype = DType::kF32;  // of the matrices: kF32, kF16 or kBF16
  WeightLayout layout = WeightLayout::kTile64;
  int64_t max_segment_bytes = kMaxSegmentBytes;  // multiple of 4 KiB
};

// Everything in weights.bin but the bytes and their digests.
struct SegmentLayout {
  Segment vectors_segment;  // first in the file
  std::vector<StoredVector> vectors;
  std::vector<Segment> segments;
  int64_t file_bytes = 0;
};

// Lays out the vectors, then the matrices in the order of a pass, without gaps. A layer's attention
// (qkv and output) is one segment, its MLP (up and down) another, each other matrix one of its own.
// What is larger than max_segment_bytes is cut at panel borders (gated: pairs of panels) into
// pieces of nearly equal size, each of one matrix: "layers.3.mlp.up.0". Embeddings are always
// rows.
//
// Throws CheckpointError when a single panel is larger than a segment may be, and for a model of
// more than 128 TiB.
SegmentLayout layout_segments(const WeightSpecs& specs, const SegmentLayoutOptions& options);

}  // namespace zerostream
