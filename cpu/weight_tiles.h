// The tiles of a weight, as panel kernels multiply them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"
#include "cpu/cpu_isa.h"
#include "cpu/gemm_dequantise.h"
#include "cpu/gemm_kernel.h"

namespace zerostream {

// A weight seen as tiles of the type that is multiplied: its own, or for a quantised weight that of
// the source or kI8. Tiles are counted in that type.
class WeightTiles {
 public:
  WeightTiles(const PackedWeight& weight, DType dtype, CpuIsa isa);

  // Of a panel.
  int64_t count() const { return count_; }
  // Runs begin at multiples of this many tiles.
  int64_t run_multiple() const { return run_multiple_; }
  // Whether the weight rests in just these tiles; otherwise they are made, run by run.
  bool rest_as_multiplied() const { return make_ == nullptr; }
  // Where what becomes a tile rests, and its bytes.
  const std::byte* resting(int64_t panel, int64_t tile) const;
  int64_t resting_bytes() const { return kTileBytes / tiles_per_resting_; }

  // `count` tiles from `tile` on, where they rest or made in `scratch`, which has room for them.
  const std::byte* tiles(int64_t panel, int64_t tile, int64_t count, std::byte* scratch) const;
  // For products in integers: the group that a run begins with, and the groups of a run; their
  // source sums are left out.
  int64_t group_of(int64_t tile) const { return tile * tile_inputs(dtype_) / weight_.group_size; }
  IntegerGroups groups(int64_t panel, int64_t tile, int64_t count) const;

 private:
  using Make = void (WeightTiles::*)(int64_t panel, int64_t tile, int64_t count,
                                     std::byte* scratch) const;
  void make_from_rows(int64_t panel, int64_t tile, int64_t count, std::byte* scratch) const;
  void make_from_quantised(int64_t panel, int64_t tile, int64_t count, std::byte* scratch) const;
  const std::byte* table(int64_t panel, int64_t group) const;

  const PackedWeight weight_;
  const DType dtype_;
  int64_t tiles_per_resting_ = 1;
  int64_t count_ = 0;
  int64_t run_multiple_ = 1;
  Make make_ = nullptr;
  Dequantise dequantise_ = nullptr;
};

}  // namespace zerostream
