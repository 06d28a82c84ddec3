#include "cpu/simd_attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kTile = kAttentionTile;
// Keys lie in panels of so many positions, a cache line of them for each column.
constexpr int64_t kPanel = 16;
// Registers for sums: kBlockRows x kBlockVectors, with room for one operand of each.
constexpr int kBlockRows = 4;
constexpr int kBlockVectors = kLanes == 16 ? 4 : 2;

struct Row {
  const float* query;
  std::byte* target;
  float slope;
  int64_t first;  // the positions that it sees: [first, end), its own is end - 1
  int64_t end;
  float largest;  // score so far
  float total;    // of exp(score - largest)
};

// The positions [begin, end) of the tile that begins at `start`, and where their keys are.
struct Tile {
  int64_t start;
  int64_t begin;
  int64_t end;
  const std::byte* keys[kTile];
};

void find_rows(const AttentionArgs& args, const AttentionItem& item, Row* rows) {
  const int64_t dim = args.kv.head_dim;
  const int64_t group = args.query.cols / dim / args.kv.num_key_value_heads;
  for (int64_t i = item.row_begin; i < item.row_end; ++i) {
    const int64_t head = item.kv_head * group + i % group;
    const int64_t end = item.sequence->position_begin + i / group + 1;
    const int64_t first = args.sliding_window > 0 ? end - args.sliding_window : 0;
    const int64_t row = item.sequence->row_begin + i / group;
    *rows++ = {args.query.row_as<float>(row) + head * dim,
               args.target.row(row) + dtype_bytes(args.target.dtype, head * dim),
               args.alibi_slopes != nullptr ? args.alibi_slopes[head] : 0.0f,
               std::max<int64_t>(0, first),
               end,
               -std::numeric_limits<float>::infinity(),
               0.0f};
  }
}

void find_keys(const KvLayerView& kv, const AttentionItem& item, Tile& tile) {
  const int64_t cell_bytes = dtype_bytes(kv.dtype, kv.head_dim);
  int64_t block = tile.begin / kv.block_tokens, slot = tile.begin % kv.block_tokens;
  const int64_t begin = tile.begin - tile.start, end = tile.end - tile.start;
  for (int64_t i = begin; i < end; ++i) {
    tile.keys[i] = kv.key(item.sequence->block_table[block], item.kv_head) + slot * cell_bytes;
    if (++slot == kv.block_tokens) ++block, slot = 0;
  }
  // Lanes that nobody reads need some key, in fours.
  std::fill(tile.keys, tile.keys + begin, tile.keys[begin]);
  std::fill(tile.keys + end, tile.keys + round_up(end, 4), tile.keys[end - 1]);
}

// target[column][position] of 4 keys.
template <typename T>
HWY_INLINE void transpose_keys(const T* const (&keys)[4], int64_t dim, float* target) {
  const hn::FixedTag<float, 4> d;
  for (int64_t i = 0; i < dim; i += 4) {
    const int64_t count = std::min<int64_t>(4, dim - i);
    hn::Vec<decltype(d)> v[4];
    for (int k = 0; k < 4; ++k)
      v[k] = count == 4 ? load(d, keys[k] + i) : load_some(d, keys[k] + i, count);
    const auto low01 = hn::InterleaveLower(d, v[0], v[1]);
    const auto low23 = hn::InterleaveLower(d, v[2], v[3]);
    const auto high01 = hn::InterleaveUpper(d, v[0], v[1]);
    const auto high23 = hn::InterleaveUpper(d, v[2], v[3]);
    hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, target + i * kPanel);
    if (count > 1) hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, target + (i + 1) * kPanel);
    if (count > 2)
      hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, target + (i + 2) * kPanel);
    if (count > 3)
      hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, target + (i + 3) * kPanel);
  }
}

template <typename T>
void load_keys(const Tile& tile, int64_t dim, float* target) {
  for (int64_t i = 0; i < tile.end - tile.start; i += 4) {
    const T* keys[4];
    for (int k = 0; k < 4; ++k) keys[k] = reinterpret_cast<const T*>(tile.keys[i + k]);
    transpose_keys(keys, dim, target + i / kPanel * dim * kPanel + i % kPanel);
  }
}

template <typename T>
void load_values(const Tile& tile, int64_t dim, int64_t value_offset, float* target) {
  for (int64_t i = tile.begin - tile.start; i < tile.end - tile.start; ++i)
    convert_row(reinterpret_cast<const T*>(tile.keys[i] + value_offset),
                target + i * AttentionScratch::padded(dim), dim);
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

// Turns the scores of one row into weights relative to its largest score so far, and brings its
// sums to the same scale.
void weigh(Row& row, const Tile& tile, float scale, float* scores, float* sums, int64_t padded) {
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
                                      hn::Mul(load(d, scores + i), hn::Set(d, scale)));
    const FloatVec masked =
        hn::IfThenElse(hn::And(hn::Ge(index, low), hn::Lt(index, high)), score, minus_infinity);
    store(d, masked, scores + i);
    largest = hn::Max(largest, masked);
  }
  largest = hn::MaxOfLanes(d, largest);
  FloatVec total = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kLanes) {
    const FloatVec weight = exp_or_nan(hn::Sub(load(d, scores + i), largest));
    store(d, weight, scores + i);
    total = hn::Add(total, weight);  // 0 where masked
  }
  const FloatVec shrink = exp_or_nan(hn::Sub(hn::Set(d, row.largest), largest));
  for (int64_t i = 0; i < padded; i += kLanes)
    store(d, hn::Mul(load(d, sums + i), shrink), sums + i);
  row.total = hn::GetLane(hn::MulAdd(hn::Set(d, row.total), shrink, hn::SumOfLanes(d, total)));
  row.largest = hn::GetLane(largest);
}

// sums[row][column] += weight · value over positions [begin, end) of the tile.
template <int kRows, int kVectors>
HWY_INLINE void add_values(const float* weights, const float* values, int64_t begin, int64_t end,
                           int64_t padded, float* sums) {
  const Floats d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load(d, sums + r * padded + v * kLanes);
  for (int64_t i = begin; i < end; ++i) {
    FloatVec value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = load(d, values + i * padded + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec weight = hn::Set(d, weights[r * kTile + i]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(d, sum[r][v], sums + r * padded + v * kLanes);
}

template <int kRows>
void add_range(const float* weights, const float* values, int64_t begin, int64_t end,
               int64_t padded, float* sums) {
  if (begin >= end) return;
  int64_t i = 0;
  for (; i + kBlockVectors * kLanes <= padded; i += kBlockVectors * kLanes)
    add_values<kRows, kBlockVectors>(weights, values + i, begin, end, padded, sums + i);
  for (; i < padded; i += kLanes)
    add_values<kRows, 1>(weights, values + i, begin, end, padded, sums + i);
}

// The positions that all rows see are added for all at once, those before and behind row by row.
template <int kRows>
void accumulate(const Row* rows, const Tile& tile, const float* weights, const float* values,
                int64_t padded, float* sums) {
  const auto begin = [&](int r) { return std::max<int64_t>(rows[r].first - tile.start, 0); };
  const auto end = [&](int r) { return std::min(rows[r].end - tile.start, kTile); };
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

// Calls work(row, number of rows) for rows [begin, end), several at a time.
template <class Work>
HWY_INLINE void for_blocks(int64_t begin, int64_t end, const Work& work) {
  for (; begin + kBlockRows <= end; begin += kBlockRows)
    work(begin, std::integral_constant<int, kBlockRows>());
  for (; begin < end; ++begin) work(begin, std::integral_constant<int, 1>());
}

// Takes in one tile for the rows [begin, end), which see some of it.
template <typename T>
void add_tile(const AttentionArgs& args, const Tile& tile, const AttentionScratch& scratch,
              Row* rows, int64_t begin, int64_t end) {
  const int64_t dim = args.kv.head_dim;
  const int64_t padded = AttentionScratch::padded(dim);
  const auto scores_of = [&](int64_t row) { return scratch.scores + row * kTile; };
  const auto sums_of = [&](int64_t row) { return scratch.sums + row * padded; };
  load_keys<T>(tile, dim, scratch.cells);
  for_blocks(begin, end, [&](int64_t row, auto count) HWY_ATTR {
    score<count>(rows + row, scratch.cells, dim, tile.end - tile.start, scores_of(row));
  });
  for (int64_t row = begin; row < end; ++row)
    weigh(rows[row], tile, args.scale, scores_of(row), sums_of(row), padded);
  load_values<T>(tile, dim, args.kv.num_key_value_heads * args.kv.head_bytes(), scratch.cells);
  for_blocks(begin, end, [&](int64_t row, auto count) HWY_ATTR {
    accumulate<count>(rows + row, tile, scores_of(row), scratch.cells, padded, sums_of(row));
  });
}

void write_row(const AttentionArgs& args, const Row& row, const float* sums) {
  const FloatVec total = hn::Set(Floats(), row.total);
  with_type(row.target, args.target.dtype, [&](auto* target) HWY_ATTR {
    map_row(sums, target, args.kv.head_dim,
            [=](int64_t, int64_t, FloatVec v) HWY_ATTR { return hn::Div(v, total); });
  });
}

void attention(const AttentionArgs& args, const AttentionItem& item,
               const AttentionScratch& scratch) {
  Row rows[kAttentionRows];
  const int64_t count = item.row_end - item.row_begin;
  const int64_t padded = AttentionScratch::padded(args.kv.head_dim);
  find_rows(args, item, rows);
  std::fill(scratch.sums, scratch.sums + count * padded, 0.0f);
  Tile tile = {};
  int64_t begin = 0, end = 0;  // the rows that see something of the tile
  for (tile.start = rows[0].first / kTile * kTile; tile.start < rows[count - 1].end;
       tile.start += kTile) {
    while (rows[begin].end <= tile.start) ++begin;
    while (end < count && rows[end].first < tile.start + kTile) ++end;
    tile.begin = std::max(tile.start, rows[begin].first);
    tile.end = std::min(tile.start + kTile, rows[end - 1].end);
    find_keys(args.kv, item, tile);
    with_type(tile.keys[0], args.kv.dtype, [&](const auto* key) HWY_ATTR {
      using T = std::remove_cv_t<std::remove_pointer_t<decltype(key)>>;
      add_tile<T>(args, tile, scratch, rows, begin, end);
    });
  }
  for (int64_t row = 0; row < count; ++row) write_row(args, rows[row], scratch.sums + row * padded);
}

constexpr AttentionOp kAttention = attention;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

AttentionScratch AttentionScratch::in(float* memory, int64_t head_dim) {
  const int64_t columns = padded(head_dim);
  AttentionScratch scratch;
  scratch.cells = memory;
  scratch.scores = scratch.cells + kAttentionTile * columns;
  scratch.sums = scratch.scores + kAttentionRows * kAttentionTile;
  return scratch;
}

AttentionOp attention_op(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kAttention : N_AVX2::kAttention;
}

}  // namespace zerostream
#endif  // HWY_ONCE
