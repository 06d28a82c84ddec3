// Where each weight of a model goes in a store: a pure function of the model and of how it is
// packed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "offload/model_layout.h"

namespace zerostream {

// What packing makes at most. Small segments need small slots, which leaves memory for weights that
// stay; reads of this size are at full speed.
inline constexpr int64_t kSegmentBytes = int64_t{64} << 20;

inline constexpr int32_t kDefaultGroupSize = 64;

// How the weights of a store are kept. Embeddings are always rows of the compute dtype. Where the
// matrices of layers are quantised, those that belong to no layer are of the compute dtype, the
// head unless quantised_head.
struct StoreFormat {
  DType dtype = DType::kF32;                    // of the layers' matrices
  DType compute_dtype = DType::kF32;            // kF32, kF16 or kBF16; dtype unless quantised
  WeightLayout layout = WeightLayout::kTile64;  // of all matrices but embeddings
  int32_t group_size = 0;                       // 32, 64 or 128 for kI8 and kI4, else 0
  bool has_zeros = false;
  bool quantised_head = false;

  bool quantised() const { return group_size != 0; }
  bool operator==(const StoreFormat&) const = default;
};

// "bf16", "int8-g64", "int4-g128-asymmetric-head".
std::string format_name(const StoreFormat& format);

// The run of all outputs that a store of this format has for a matrix; offset 0.
StoredMatrix stored_matrix(const MatrixSpec& spec, const StoreFormat& format);

// Everything in weights.bin but the bytes and their digests.
struct SegmentLayout {
  Segment vectors_segment;  // first in the file
  std::vector<StoredVector> vectors;
  std::vector<Segment> segments;
  int64_t file_bytes = 0;
};

// Lays out the vectors, then the matrices in the order of a pass, without gaps. A layer's attention
// (qkv and output) is one segment, its MLP (up and down) another, each other matrix one of its own.
// What is larger than max_segment_bytes (a multiple of 4 KiB) is cut at panel borders (gated: pairs
// of panels) into pieces of nearly equal size, each of one matrix: "layers.3.mlp.up.0". Embeddings
// are always rows.
//
// Throws CheckpointError when a single panel is larger than a segment may be, and for a model of
// more than 128 TiB.
SegmentLayout layout_segments(const WeightSpecs& specs, const StoreFormat& format,
                              int64_t max_segment_bytes = kSegmentBytes);

}  // namespace zerostream
