// The inner products of a matrix multiplication: a run of rows times one panel of weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/tensor.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// What a product in integers needs besides. Its source is int8 and its tiles are those of kI8; it
// begins with a group, and its sums are
//   sum over groups of scale * (sum of q * source - zero * sum of source)
// with the inner sums exact and the outer one an fp32 multiply-add after another. They have the
// same bits on every instruction set.
struct IntegerGroups {
  const std::byte* table = nullptr;  // the group table from the first group on, see PackedWeight
  int64_t bytes = 0;                 // of one group in the table
  int64_t count = 0;                 // inputs beyond these groups count for nothing
  int32_t size = 0;                  // inputs of a group
  bool has_zeros = false;
  float zero = 0;  // of all groups where the table has none
  // Sums of each row's source over each group, as whole numbers.
  const float* source_sums = nullptr;
  int64_t source_sums_stride = 0;  // from one row to the next
};

// sums = (keep_sums ? sums : 0) + source · tilesᵀ for 64 outputs. The source has whole tiles of
// inputs, zero where the weight has none, and its element type is the tiles'. sums are fp32
// [rows][64] without gaps. All pointers are 64-byte aligned.
struct PanelProduct {
  const std::byte* source = nullptr;
  int64_t source_row_bytes = 0;  // from one row to the next
  int64_t rows = 0;
  const std::byte* tiles = nullptr;  // consecutive tiles of one panel
  int64_t num_tiles = 0;
  // What is read next, or a little later: for each tile of this product `next_bytes` (up to those
  // of a tile) that the kernel fetches into the cache on the way. Any address will do.
  const std::byte* next_tiles = nullptr;
  int64_t next_bytes = kTileBytes;
  float* sums = nullptr;
  bool keep_sums = false;
  IntegerGroups groups = {};  // of products in integers only
};

// Fetches one of `parts` parts of what is read next, tile by tile. A kernel that goes through its
// tiles `parts` times fetches another part each time.
class NextTiles {
 public:
  [[gnu::always_inline]] NextTiles(const PanelProduct& product, int64_t first_tile, int64_t part,
                                   int64_t parts)
      : bytes_(product.next_bytes),
        tile_(product.next_tiles + first_tile * bytes_),
        begin_(part * bytes_ / parts / kLine * kLine),
        end_((part + 1) * bytes_ / parts / kLine * kLine) {}
  // With gaps at first: measured 15-20 % faster than in order, as the processor fetches neighbours
  // by itself.
  [[gnu::always_inline]] void fetch_tile() {
    for (int64_t column = begin_; column < begin_ + kStride; column += kLine)
      for (int64_t line = column; line < end_; line += kStride) __builtin_prefetch(tile_ + line);
    tile_ += bytes_;
  }

 private:
  static constexpr int64_t kLine = 64, kStride = 4 * kLine;
  const int64_t bytes_;
  const std::byte* tile_;
  const int64_t begin_, end_;
};

// How many of `rows` rows to take at once so that blocks of at most `most` rows are of one size.
constexpr int64_t even_block(int64_t rows, int64_t most) {
  return ceil_div(rows, ceil_div(rows, most));
}

// Computes a product. A sum is added up over ascending inputs in one order that belongs to the
// kernel: its bits do not depend on the other rows, on their number, or on how the panel was cut
// into runs of tiles.
using PanelKernel = void (*)(const PanelProduct& product);

// For kF32, kF16 and kBF16, and kI8 for products in integers; the best kernel that needs no more
// than `isa`.
PanelKernel panel_kernel(DType dtype, CpuIsa isa);

// What panel_kernel chooses from. The first takes any of the three types, on kAvx2 and kAvx512.
PanelKernel simd_panel_kernel(DType dtype, CpuIsa isa);
PanelKernel avx512_bf16_panel_kernel();
PanelKernel amx_panel_kernel();
PanelKernel simd_int8_panel_kernel(CpuIsa isa);
PanelKernel vnni_panel_kernel();
PanelKernel amx_int8_panel_kernel();

}  // namespace zerostream
