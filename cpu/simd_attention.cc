#include "cpu/simd_attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/key_panels-inl.h"
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kTile = kAttentionTile;
// Registers for sums: kBlockRows x kBlockVectors, with room for one operand of each.
constexpr int kBlockRows = 4;
constexpr int kBlockVectors = kLanes == 16 ? 4 : 2;

struct Row {
  const float* query;
  float slope;
  int64_t first;  // the positions that it sees: [first, end), its own is end - 1
  int64_t end;
  float largest;  // score so far
  float total;    // of exp(score - largest)
};

// The positions [begin, end) of the tile that begins at `start` which some row of the item sees,
// where their keys are, and what brings scores and weights to their size.
struct Tile {
  int64_t start;
  int64_t begin;
  int64_t end;
  const std::byte* keys[kTile];
  float score_scales[kTile];
  float weight_scales[kTile];
};

void find_rows(const AttentionArgs& args, const AttentionItem& item, Row* rows) {
  for (int64_t i = item.row_begin; i < item.row_end; ++i) {
    const int64_t head = item.query_head(args, i);
    const PositionRange seen = item.positions_of(args, i);
    *rows++ = {args.query.row_as<float>(item.token_of(args, i)) + head * args.kv.head_dim,
               args.alibi_slopes != nullptr ? args.alibi_slopes[head] : 0.0f,
               seen.begin,
               seen.end,
               -std::numeric_limits<float>::infinity(),
               0.0f};
  }
}

void find_tile(const AttentionArgs& args, const AttentionItem& item, int64_t start, Tile& tile) {
  const KvLayerView& kv = args.kv;
  tile.start = start;
  tile.begin = std::max(start, item.positions_of(args, item.row_begin).begin);
  tile.end = std::min(start + kTile, item.positions_of(args, item.row_end - 1).end);
  const int64_t cell_bytes = dtype_bytes(kv.dtype, kv.head_dim);
  int64_t block = tile.begin / kv.block_tokens, slot = tile.begin % kv.block_tokens;
  const int64_t begin = tile.begin - tile.start, end = tile.end - tile.start;
  std::fill(tile.score_scales, tile.score_scales + kTile, args.scale);
  std::fill(tile.weight_scales, tile.weight_scales + kTile, 1.0f);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t id = item.sequence->block_table[block];
    tile.keys[i] = kv.key(id, item.kv_head) + slot * cell_bytes;
    if (kv.dtype == DType::kI8) {
      tile.score_scales[i] = args.scale * kv.key_scales(id, item.kv_head)[slot];
      tile.weight_scales[i] = kv.value_scales(id, item.kv_head)[slot];
    }
    if (++slot == kv.block_tokens) ++block, slot = 0;
  }
  // Lanes that nobody reads need some key, in whole vectors.
  std::fill(tile.keys, tile.keys + begin, tile.keys[begin]);
  std::fill(tile.keys + end, tile.keys + kTile, tile.keys[end - 1]);
}

template <typename T>
void load_keys(const Tile& tile, const Tile& next, int64_t dim, float* target) {
  for (int64_t i = 0; i < tile.end - tile.start; i += kLanes)
    transpose_keys<T>(tile.keys + i, next.keys + i, dim,
                      target + i / kPanel * dim * kPanel + i % kPanel);
}

// Where the values of a tile's positions are.
template <typename T>
struct Values {
  const std::byte* const* keys;
  const std::byte* const* ahead;  // those of the next tile
  int64_t offset;                 // bytes from a position's key
  HWY_INLINE const T* at(int64_t i) const { return reinterpret_cast<const T*>(keys[i] + offset); }
  HWY_INLINE void fetch(int64_t i, int64_t column) const {
    hwy::Prefetch(reinterpret_cast<const T*>(ahead[i] + offset) + column);
  }
};
struct LoadedValues {
  const float* cells;
  int64_t padded;
  HWY_INLINE const float* at(int64_t i) const { return cells + i * padded; }
  HWY_INLINE void fetch(int64_t, int64_t) const {}
};

template <typename T>
LoadedValues load_values(const Tile& tile, int64_t dim, const Values<T>& values, float* target) {
  const int64_t padded = AttentionScratch::padded(dim);
  for (int64_t i = tile.begin - tile.start; i < tile.end - tile.start; ++i)
    convert_row(values.at(i), target + i * padded, dim);
  return {target, padded};
}

// scores[row][position] = query · key, for one vector of positions times kVectors.
template <int kRows, int kVectors>
HWY_INLINE void dot(const Row* rows, const float* keys, int64_t dim, float* scores) {
  const Floats d;
  const auto column = [=](int64_t v) HWY_ATTR {
    return v * kLanes / kPanel * dim * kPanel + v * kLanes % kPanel;
  };
  FloatVec sums[kRows][kVectors];
  for (auto& row : sums)
    for (FloatVec& sum : row) sum = hn::Zero(d);
  for (int64_t i = 0; i < dim; ++i) {
    FloatVec key[kVectors];
    for (int v = 0; v < kVectors; ++v) key[v] = load(d, keys + column(v) + i * kPanel);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec query = hn::Set(d, rows[r].query[i]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(query, key[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(d, sums[r][v], scores + r * kTile + v * kLanes);
}

template <int kRows>
void score(const Row* rows, const float* keys, int64_t dim, int64_t positions, float* scores) {
  for (int64_t i = 0; i < positions; i += kBlockVectors * kLanes)
    dot<kRows, kBlockVectors>(rows, keys + i * dim, dim, scores + i);
}

// e^x of one number; NaN for NaN.
HWY_INLINE float exp_of(float x) { return hn::GetLane(exp_or_nan(hn::Set(Floats(), x))); }

HWY_INLINE void scale_sums(float factor, float* sums, int64_t padded) {
  const Floats d;
  for (int64_t i = 0; i < padded; i += kLanes)
    store(d, hn::Mul(load(d, sums + i), hn::Set(d, factor)), sums + i);
}

// Turns the scores of one row into weights relative to its largest score so far, and brings its
// sums to the same scale.
void weigh(Row& row, const Tile& tile, float* scores, float* sums, int64_t padded) {
  const Floats d;
  const FloatVec low = hn::Set(d, static_cast<float>(row.first - tile.start));
  const FloatVec high = hn::Set(d, static_cast<float>(row.end - tile.start));
  const FloatVec minus_infinity = hn::Set(d, -std::numeric_limits<float>::infinity());
  const int64_t count = std::min(row.end - tile.start, kTile);
  FloatVec largest = hn::Set(d, row.largest);
  for (int64_t i = 0; i < count; i += kLanes) {
    const FloatVec index = hn::Iota(d, static_cast<float>(i));
    const FloatVec distance = hn::Add(hn::Sub(index, high), hn::Set(d, 1.0f));
    const FloatVec score = hn::MulAdd(hn::Set(d, row.slope), distance,
                                      hn::Mul(load(d, scores + i), load(d, tile.score_scales + i)));
    const FloatVec masked =
        hn::IfThenElse(hn::And(hn::Ge(index, low), hn::Lt(index, high)), score, minus_infinity);
    store(d, masked, scores + i);
    largest = hn::Max(largest, masked);
  }
  largest = hn::MaxOfLanes(d, largest);
  FloatVec total = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kLanes) {
    const FloatVec weight = exp_or_nan(hn::Sub(load(d, scores + i), largest));
    store(d, hn::Mul(weight, load(d, tile.weight_scales + i)), scores + i);
    total = hn::Add(total, weight);  // 0 where masked
  }
  float shrink = 1;
  if (hn::GetLane(largest) != row.largest) {
    shrink = exp_of(row.largest - hn::GetLane(largest));
    scale_sums(shrink, sums, padded);
  }
  row.total =
      hn::GetLane(hn::MulAdd(hn::Set(d, row.total), hn::Set(d, shrink), hn::SumOfLanes(d, total)));
  row.largest = hn::GetLane(largest);
}

// sums[row][column] += weight · value over positions [begin, end) of the tile.
template <int kRows, int kVectors, class ValuesAt>
HWY_INLINE void add_values(const float* weights, const ValuesAt& values, int64_t column,
                           int64_t begin, int64_t end, int64_t padded, float* sums) {
  const Floats d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load(d, sums + r * padded + v * kLanes);
  for (int64_t i = begin; i < end; ++i) {
    FloatVec value[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      value[v] = load(d, values.at(i) + column + v * kLanes);
      values.fetch(i, column + v * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const FloatVec weight = hn::Set(d, weights[r * kTile + i]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(d, sum[r][v], sums + r * padded + v * kLanes);
}

template <int kRows, class ValuesAt>
void add_range(const float* weights, const ValuesAt& values, int64_t begin, int64_t end,
               int64_t padded, float* sums) {
  if (begin >= end) return;
  int64_t i = 0;
  for (; i + kBlockVectors * kLanes <= padded; i += kBlockVectors * kLanes)
    add_values<kRows, kBlockVectors>(weights, values, i, begin, end, padded, sums + i);
  for (; i < padded; i += kLanes)
    add_values<kRows, 1>(weights, values, i, begin, end, padded, sums + i);
}

// The positions that all rows see are added for all at once, those before and behind row by row.
template <int kRows, class ValuesAt>
void accumulate(const Row* rows, const Tile& tile, const float* weights, const ValuesAt& values,
                int64_t padded, float* sums) {
  const auto begin = [&](int r) { return std::max<int64_t>(rows[r].first - tile.start, 0); };
  const auto end = [&](int r) { return std::min(rows[r].end, tile.end) - tile.start; };
  const int64_t shared_begin = std::min(begin(kRows - 1), end(0));
  const int64_t shared_end = end(0);
  for (int r = 0; r < kRows; ++r)
    add_range<1>(weights + r * kTile, values, begin(r), std::min(shared_begin, end(r)), padded,
                 sums + r * padded);
  add_range<kRows>(weights, values, shared_begin, shared_end, padded, sums);
  for (int r = 0; r < kRows; ++r)
    add_range<1>(weights + r * kTile, values, std::max(begin(r), shared_end), end(r), padded,
                 sums + r * padded);
}

template <class Work>
HWY_INLINE void for_blocks(int64_t begin, int64_t end, const Work& work) {
  static_assert(kBlockRows == 4);
  for (; begin + 4 <= end; begin += 4) work(begin, std::integral_constant<int, 4>());
  if (end - begin == 3) work(begin, std::integral_constant<int, 3>());
  if (end - begin == 2) work(begin, std::integral_constant<int, 2>());
  if (end - begin == 1) work(begin, std::integral_constant<int, 1>());
}

// Takes in one tile for the rows [begin, end), which see some of it.
template <typename T>
void add_tile(const AttentionArgs& args, const Tile& tile, const Tile& next,
              const AttentionScratch& scratch, float* sums, Row* rows, int64_t begin, int64_t end) {
  const int64_t dim = args.kv.head_dim;
  const int64_t padded = AttentionScratch::padded(dim);
  const auto scores_of = [&](int64_t row) { return scratch.scores + row * kTile; };
  const auto sums_of = [&](int64_t row) { return sums + row * padded; };
  load_keys<T>(tile, next, dim, scratch.cells);
  for_blocks(begin, end, [&](int64_t row, auto count) HWY_ATTR {
    score<count>(rows + row, scratch.cells, dim, tile.end - tile.start, scores_of(row));
  });
  for (int64_t row = begin; row < end; ++row)
    weigh(rows[row], tile, scores_of(row), sums_of(row), padded);
  const auto add = [&](const auto& values) HWY_ATTR {
    for_blocks(begin, end, [&](int64_t row, auto count) HWY_ATTR {
      accumulate<count>(rows + row, tile, scores_of(row), values, padded, sums_of(row));
    });
  };
  const Values<T> values = {tile.keys, next.keys,
                            args.kv.num_key_value_heads * args.kv.head_bytes()};
  if (end - begin <= 2 * kBlockRows && dim % kLanes == 0 && padded == dim)
    add(values);
  else
    add(load_values(tile, dim, values, scratch.cells));
}

// Calls work with a null pointer of the element type.
template <class Work>
HWY_INLINE void with_kv_type(DType dtype, const Work& work) {
  if (dtype == DType::kI8) return work(static_cast<const int8_t*>(nullptr));
  with_type(static_cast<const std::byte*>(nullptr), dtype, work);
}

void add_piece(const AttentionArgs& args, const AttentionItem& item, int64_t piece,
               const AttentionScratch& scratch, const AttentionSums& target) {
  Row rows[kAttentionRows];
  const int64_t count = item.row_end - item.row_begin;
  const int64_t padded = AttentionScratch::padded(args.kv.head_dim);
  const int64_t piece_end = (piece + 1) * kAttentionPiece;
  find_rows(args, item, rows);
  std::fill(target.sums, target.sums + count * padded, 0.0f);
  Tile tiles[2];
  Tile *tile = &tiles[0], *next = &tiles[1];
  int64_t begin = 0, end = 0;  // the rows that see something of the tile
  int64_t start = std::max(piece * kAttentionPiece, rows[0].first / kTile * kTile);
  find_tile(args, item, start, *tile);
  for (; start < std::min(piece_end, rows[count - 1].end); start += kTile) {
    while (rows[begin].end <= start) ++begin;
    while (end < count && rows[end].first < start + kTile) ++end;
    find_tile(args, item,
              tile->end == start + kTile && tile->end < rows[count - 1].end ? start + kTile : start,
              *next);
    with_kv_type(args.kv.dtype, [&](const auto* type) HWY_ATTR {
      using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      add_tile<T>(args, *tile, *next, scratch, target.sums, rows, begin, end);
    });
    std::swap(tile, next);
  }
  for (int64_t row = 0; row < count; ++row) {
    target.largest[row] = rows[row].largest;
    target.totals[row] = rows[row].total;
  }
}

// Adds `more` of a row to its `sums`.
void merge_row(const AttentionSums& more, const AttentionSums& sums, int64_t row, int64_t padded) {
  const Floats d;
  const float largest = std::max(sums.largest[row], more.largest[row]);
  const FloatVec own = hn::Set(d, exp_of(sums.largest[row] - largest));
  const FloatVec other = hn::Set(d, exp_of(more.largest[row] - largest));
  const auto merged = [=](const float* to, const float* from) HWY_ATTR {
    return hn::MulAdd(load(d, to), own, hn::Mul(load(d, from), other));
  };
  for (int64_t i = row * padded; i < (row + 1) * padded; i += kLanes)
    store(d, merged(sums.sums + i, more.sums + i), sums.sums + i);
  sums.totals[row] = hn::GetLane(
      hn::MulAdd(hn::Set(d, sums.totals[row]), own, hn::Mul(hn::Set(d, more.totals[row]), other)));
  sums.largest[row] = largest;
}

void merge(const AttentionArgs& args, const AttentionItem& item, int64_t piece,
           const AttentionSums& more, const AttentionSums& sums) {
  const int64_t padded = AttentionScratch::padded(args.kv.head_dim);
  const int64_t begin = piece * kAttentionPiece, end = begin + kAttentionPiece;
  for (int64_t i = item.row_begin; i < item.row_end; ++i) {
    const PositionRange seen = item.positions_of(args, i);
    if (seen.end <= begin || seen.begin >= end) continue;
    const int64_t row = i - item.row_begin;
    if (seen.begin < begin) {
      merge_row(more, sums, row, padded);
    } else {  // the first piece that it sees
      std::copy_n(more.sums + row * padded, padded, sums.sums + row * padded);
      sums.largest[row] = more.largest[row];
      sums.totals[row] = more.totals[row];
    }
  }
}

void write(const AttentionArgs& args, const AttentionItem& item, const AttentionSums& sums) {
  const int64_t dim = args.kv.head_dim;
  for (int64_t i = item.row_begin; i < item.row_end; ++i) {
    const int64_t row = i - item.row_begin;
    const FloatVec total = hn::Set(Floats(), sums.totals[row]);
    const int64_t column = dtype_bytes(args.target.dtype, item.query_head(args, i) * dim);
    with_type(args.target.row(item.token_of(args, i)) + column, args.target.dtype,
              [&](auto* target) HWY_ATTR {
                map_row(sums.sums + row * AttentionScratch::padded(dim), target, dim,
                        [=](int64_t, int64_t, FloatVec v) HWY_ATTR { return hn::Div(v, total); });
              });
  }
}

constexpr AttentionOps kAttentionOps = {add_piece, merge, write};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

AttentionSums AttentionSums::in(float* memory, int64_t rows, int64_t head_dim) {
  float* largest = memory + rows * AttentionScratch::padded(head_dim);
  return {memory, largest, largest + rows};
}

AttentionScratch AttentionScratch::in(float* memory, int64_t head_dim) {
  return {memory, memory + kAttentionTile * padded(head_dim)};
}

const AttentionOps& attention_ops(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kAttentionOps : N_AVX2::kAttentionOps;
}

}  // namespace zerostream
#endif  // HWY_ONCE
