// Attention over paged keys and values of 8 or 16 bits on tensor cores.
//
// A warp computes 16 pairs of a row and a query head that share a KV head. Lanes read their
// fragments of keys and values straight from the blocks.
//
// Sums have the same order for a row in any call: the positions before it are cut into at most
// kPieces pieces, whose length depends on its own position alone; each piece has a softmax of its
// own, and pieces are merged ascending. Where a call has few rows a warp computes one piece, and
// another kernel merges; else a warp goes through all pieces. Positions that a row does not see
// have weight 0, which changes nothing unless their values are not finite.
#include "gpu/fragments.cuh"
#include "gpu/launchers.h"
#include "gpu/sequences.cuh"

namespace zerostream {
namespace {

constexpr int kFragmentRows = 16;
constexpr int kTile = kWarpThreads;  // positions at a time
constexpr int kMergeThreads = 128;
constexpr int32_t kPieces = 16;
constexpr int32_t kShortestPiece = 64;
constexpr int64_t kEnoughWarps = 512;  // with so many, one for each KV head of a row will do

// Positions in a piece of a row at position `own`.
__device__ __forceinline__ int32_t piece_length(int32_t own) {
  int32_t length = kShortestPiece;
  while (length * kPieces <= own) length *= 2;
  return length;
}

__device__ __forceinline__ int32_t first_seen(int32_t own, int32_t window) {
  return window > 0 && own >= window ? own - window + 1 : 0;
}

// A softmax so far: the largest score and the sum of exp(score - largest).
struct Softmax {
  float largest = -INFINITY;
  float total = 0;
};

// What sums before, and the new ones, are multiplied by.
struct Factors {
  float before;
  float added;
};

__device__ __forceinline__ Factors merge(Softmax& softmax, const Softmax& added) {
  const float largest = fmaxf(softmax.largest, added.largest);
  const float base = largest == -INFINITY ? 0.0f : largest;
  const Factors factors = {expf(softmax.largest - base), expf(added.largest - base)};
  softmax.largest = largest;
  softmax.total = fmaf(added.total, factors.added, softmax.total * factors.before);
  return factors;
}

__device__ __forceinline__ float merge(float sum, float added, const Factors& factors) {
  return fmaf(added, factors.added, sum * factors.before);
}

// Partial results: for each row and head kPieces times the softmax and head_dim sums.
__device__ __forceinline__ float* partial_of(float* partials, const AttentionArgs& args,
                                             int64_t row, int64_t head, int64_t piece) {
  const int64_t heads = args.query.cols / args.kv.head_dim;
  return partials + ((row * heads + head) * kPieces + piece) * (args.kv.head_dim + 2);
}

// What a lane knows of its rows g and g + 8 of the warp's 16.
struct LaneRow {
  bool active = false;
  int32_t own = 0;
  int32_t first = 0;
  int32_t row = 0;
  int32_t head = 0;
  float slope = 0;

  LaneRow() = default;
  __device__ __forceinline__ LaneRow(const AttentionArgs& args, const SequenceSpan& sequence,
                                     int32_t index, int32_t group) {
    if (index >= sequence.rows * group) return;
    active = true;
    const int32_t token = index / group;
    row = sequence.row_begin + token;
    head = static_cast<int32_t>(blockIdx.y) * group + index % group;
    own = sequence.position_begin + token;
    first = first_seen(own, args.sliding_window);
    if (args.alibi_slopes != nullptr) slope = args.alibi_slopes[head];
  }
};

template <typename T, int kDim, int kWarps>
struct Attend {
  using Number = typename Multiplied<T>::Type;
  static constexpr int kChunks = kDim / 32;                   // of a head's columns, for scores
  static constexpr int kParts = kDim > 128 ? kDim / 128 : 1;  // of columns; a warp sums up one
  static constexpr int kBlocks = kDim / 64 / kParts;          // of 64 columns of a part

  struct Shared {
    uint4 query[kWarps][kChunks][2][kWarpThreads];  // as fragments
  };
  struct Sums {
    float of[kBlocks][8][4] = {};  // fragment j: columns 8 * g + j of a block
  };

  const AttentionArgs& args;
  const SequenceSpan& sequence;
  uint4 (&query)[kChunks][2][kWarpThreads];
  LaneRow rows[2];
  int part;
  int32_t low, high;  // positions that the warp's rows see

  static __device__ __forceinline__ int lane() { return threadIdx.x % kWarpThreads; }
  static __device__ __forceinline__ int g() { return lane() / 4; }
  static __device__ __forceinline__ int t() { return lane() % 4; }

  __device__ __forceinline__ uint32_t query_pair(int row, int col) const {
    if (!rows[row].active || col >= args.kv.head_dim) return 0;
    const float* head =
        row_of<float>(args.query, rows[row].row) + int64_t{rows[row].head} * args.kv.head_dim;
    return pack_pair<Number>(head[col], head[col + 1]);
  }

  __device__ __forceinline__ void load_query() {
    for (int chunk = 0; chunk < kChunks; ++chunk)
      for (int half = 0; half < 2; ++half) {
        const int col = 32 * chunk + 8 * t() + 4 * half;
        query[chunk][half][lane()] = {query_pair(0, col), query_pair(1, col),
                                      query_pair(0, col + 2), query_pair(1, col + 2)};
      }
  }

  // Where the keys of position begin + lane are; of one that no row sees, those of one that is
  // seen.
  struct Cell {
    int64_t bytes;  // from kv.base
    float key_scale = 1, value_scale = 1;
  };
  __device__ __forceinline__ Cell find_cell(int32_t begin) const {
    const KvLayerView& kv = args.kv;
    int32_t position = begin + lane();
    position = position < low ? low : position > high ? high : position;
    const int64_t block = sequence.block_table[position / kv.block_tokens];
    const int64_t slot = position % kv.block_tokens, run = blockIdx.y;
    Cell cell;
    cell.bytes = reinterpret_cast<const std::byte*>(kv_cells<T>(kv, block, run, slot)) - kv.base;
    if constexpr (sizeof(T) == 1) {
      cell.key_scale = *kv_scale(kv, block, run, slot);
      cell.value_scale = *kv_scale(kv, block, kv.num_key_value_heads + run, slot);
    }
    return cell;
  }

  // Eight columns of a key; of a value with `run` the number of KV heads.
  __device__ __forceinline__ uint4 load(int64_t cell, int64_t run, int col) const {
    if (col >= args.kv.head_dim) return {0, 0, 0, 0};
    const int64_t bytes = run * args.kv.block_tokens * args.kv.head_dim * int64_t{sizeof(T)};
    return load_eight(reinterpret_cast<const T*>(args.kv.base + cell + bytes) + col);
  }

  // scores[i]: positions 8 * i and on.
  __device__ __forceinline__ void multiply_keys(float (&scores)[4][4], const Cell& cell) const {
    int64_t keys[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) keys[i] = __shfl_sync(kAllLanes, cell.bytes, 8 * i + g());
#pragma unroll 1  // more would not fit into registers
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const uint4 q[2] = {query[chunk][0][lane()], query[chunk][1][lane()]};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint4 k = load(keys[i], 0, 32 * chunk + 8 * t());
        multiply_add<Number>(scores[i], {q[0].x, q[0].y, q[0].z, q[0].w}, {k.x, k.y});
        multiply_add<Number>(scores[i], {q[1].x, q[1].y, q[1].z, q[1].w}, {k.z, k.w});
      }
    }
  }

  // Scores become weights; those of int8 times the scale of their value. Returns what sums so far
  // of the lane's two rows are multiplied by.
  __device__ __forceinline__ float2 weigh(float (&scores)[4][4], Softmax (&softmax)[2],
                                          const Cell& cell, int32_t begin, int32_t end) const {
    float largest[2] = {softmax[0].largest, softmax[1].largest};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float& score = scores[i / 4][i % 4];
      const LaneRow& row = rows[i % 4 / 2];
      const int32_t position = begin + i / 4 * 8 + 2 * t() + i % 2;
      float factor = args.scale;
      if constexpr (sizeof(T) == 1)
        factor *= __shfl_sync(kAllLanes, cell.key_scale, position - begin);
      const bool seen =
          row.active && position >= row.first && position <= row.own && position < end;
      const auto distance = static_cast<float>(position - row.own);
      score = seen ? fmaf(row.slope, distance, score * factor) : -INFINITY;
      largest[i % 4 / 2] = fmaxf(largest[i % 4 / 2], score);
    }
    float factors[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(kAllLanes, largest[i], 1));
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(kAllLanes, largest[i], 2));
      const float before = softmax[i].largest;
      softmax[i].largest = largest[i];
      if (largest[i] == -INFINITY) largest[i] = 0;
      factors[i] = expf(before - largest[i]);
      softmax[i].total *= factors[i];
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float& score = scores[i / 4][i % 4];
      score = expf(score - largest[i % 4 / 2]);
      softmax[i % 4 / 2].total += score;
      if constexpr (sizeof(T) == 1)
        score *= __shfl_sync(kAllLanes, cell.value_scale, i / 4 * 8 + 2 * t() + i % 2);
    }
    return {factors[0], factors[1]};
  }

  // The numbers of two positions, of adjacent columns each, as pairs of one column.
  static __device__ __forceinline__ void pair_up(uint32_t (&pairs)[8], const uint4& first,
                                                 const uint4& second) {
    const uint32_t a[4] = {first.x, first.y, first.z, first.w};
    const uint32_t b[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      pairs[i] = __byte_perm(a[i / 2], b[i / 2], i % 2 == 0 ? 0x5410 : 0x7632);
  }

  __device__ __forceinline__ void add_values(Sums& sums, const float (&weights)[4][4],
                                             const Cell& cell) const {
    uint32_t packed[8];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      packed[i] = pack_pair<Number>(weights[i / 2][i % 2 * 2], weights[i / 2][i % 2 * 2 + 1]);
#pragma unroll 1  // more would not fit into registers
    for (int half = 0; half < 2; ++half) {
      uint32_t a[4];
      int64_t values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = half == 0 ? packed[i] : packed[4 + i];
        values[i] = __shfl_sync(kAllLanes, cell.bytes, 16 * half + i / 2 * 8 + 2 * t() + i % 2);
      }
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const int col = (part * kBlocks + block) * 64 + 8 * g();
        uint4 loaded[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) loaded[i] = load(values[i], args.kv.num_key_value_heads, col);
        uint32_t pairs[2][8];
        pair_up(pairs[0], loaded[0], loaded[1]);
        pair_up(pairs[1], loaded[2], loaded[3]);
#pragma unroll
        for (int j = 0; j < 8; ++j)
          multiply_add<Number>(sums.of[block][j], a, {pairs[0][j], pairs[1][j]});
      }
    }
  }

  // Positions begin .. end - 1, as a softmax of its own.
  __device__ __forceinline__ void attend_piece(Softmax (&softmax)[2], Sums& sums, int32_t begin,
                                               int32_t end) const {
    const int32_t first = low > begin ? low / kTile * kTile : begin;
    for (int32_t from = first; from < end && from <= high; from += kTile) {
      const Cell cell = find_cell(from);
      float scores[4][4] = {};
      multiply_keys(scores, cell);
      const float2 factors = weigh(scores, softmax, cell, from, end);
#pragma unroll
      for (int i = 0; i < kBlocks * 8 * 4; ++i)
        sums.of[i / 32][i / 4 % 8][i % 4] *= i % 4 < 2 ? factors.x : factors.y;
      add_values(sums, scores, cell);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // a lane has added up its own positions
      softmax[i].total += __shfl_xor_sync(kAllLanes, softmax[i].total, 1);
      softmax[i].total += __shfl_xor_sync(kAllLanes, softmax[i].total, 2);
    }
  }

  // call(row, column, sum) for each sum of the lane that is wanted.
  template <typename Call>
  __device__ __forceinline__ void for_sums(const Sums& sums, const Call& call) const {
#pragma unroll
    for (int i = 0; i < kBlocks * 8 * 4; ++i) {
      const int block = i / 32, j = i / 4 % 8;
      const int col = (part * kBlocks + block) * 64 + 8 * (2 * t() + i % 2) + j;
      if (rows[i % 4 / 2].active && col < args.kv.head_dim)
        call(i % 4 / 2, col, sums.of[block][j][i % 4]);
    }
  }

  __device__ __forceinline__ void attend_all(int32_t length) const {
    Softmax softmax[2];
    Sums sums;
    for (int32_t piece = low / length; piece <= high / length; ++piece) {
      Softmax of_piece[2];
      Sums added;
      attend_piece(of_piece, added, piece * length, (piece + 1) * length);
      const Factors factors[2] = {merge(softmax[0], of_piece[0]), merge(softmax[1], of_piece[1])};
#pragma unroll
      for (int i = 0; i < kBlocks * 8 * 4; ++i) {
        float& sum = sums.of[i / 32][i / 4 % 8][i % 4];
        sum = merge(sum, added.of[i / 32][i / 4 % 8][i % 4], factors[i % 4 / 2]);
      }
    }
    const float inverse[2] = {1.0f / softmax[0].total, 1.0f / softmax[1].total};
    for_sums(sums, [&](int row, int col, float sum) {
      store_at(args.target, rows[row].row, int64_t{rows[row].head} * args.kv.head_dim + col,
               sum * inverse[row]);
    });
  }

  __device__ __forceinline__ void attend_one(int32_t length, int32_t piece, float* partials) const {
    if (piece < low / length || piece > high / length) return;
    Softmax softmax[2];
    Sums sums;
    attend_piece(softmax, sums, piece * length, (piece + 1) * length);
    for_sums(sums, [&](int row, int col, float sum) {
      float* partial = partial_of(partials, args, rows[row].row, rows[row].head, piece);
      partial[2 + col] = sum;
      if (col == 0) partial[0] = softmax[row].largest, partial[1] = softmax[row].total;
    });
  }

  // Of the warp's rows only those whose pieces have `length` stay; false if there are none.
  __device__ __forceinline__ bool restrict_to(int32_t length) {
    low = INT32_MAX, high = -1;
#pragma unroll
    for (LaneRow& row : rows) {
      row.active = row.active && piece_length(row.own) == length;
      if (!row.active) continue;
      low = row.first < low ? row.first : low;
      high = row.own > high ? row.own : high;
    }
    for (int bits = 4; bits < kWarpThreads; bits *= 2) {  // lanes of the same g agree
      const int32_t other_low = __shfl_xor_sync(kAllLanes, low, bits);
      const int32_t other_high = __shfl_xor_sync(kAllLanes, high, bits);
      low = other_low < low ? other_low : low;
      high = other_high > high ? other_high : high;
    }
    return high >= 0;
  }
};

// grid: rows, KV heads, and what is left: pieces (if `partials` is given), parts of columns, and
// as many blocks as may begin in one row.
template <typename T, int kDim, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarpThreads, 1)
    attend_fragments(AttentionArgs args, int32_t group, float* partials) {
  using Warp = Attend<T, kDim, kWarps>;
  __shared__ typename Warp::Shared shared;
  constexpr int32_t kBlockRows = kWarps * kFragmentRows;
  const SequenceSpan sequence = find_sequence<kWarps * kWarpThreads>(
      args.sequences, args.num_sequences, static_cast<int32_t>(blockIdx.x));
  const auto pieces = partials != nullptr ? kPieces : 1;
  const auto piece = static_cast<int32_t>(blockIdx.z) % pieces;
  const auto part = static_cast<int32_t>(blockIdx.z) / pieces % Warp::kParts;
  const auto nth = static_cast<int32_t>(blockIdx.z) / pieces / Warp::kParts;
  // The nth multiple of kBlockRows that lies in the row's pairs.
  const int32_t token = static_cast<int32_t>(blockIdx.x) - sequence.row_begin;
  const int32_t block = (token * group + kBlockRows - 1) / kBlockRows + nth;
  const int warp = threadIdx.x / kWarpThreads;
  const int32_t begin = block * kBlockRows + warp * kFragmentRows;
  if (sequence.rows == 0 || block * kBlockRows >= (token + 1) * group ||
      begin >= sequence.rows * group)
    return;

  const int32_t last_token = (begin + kFragmentRows - 1) / group;
  const int32_t last = last_token < sequence.rows ? last_token : sequence.rows - 1;
  const int32_t shortest = piece_length(sequence.position_begin + begin / group);
  const int32_t longest = piece_length(sequence.position_begin + last);
  for (int32_t length = shortest; length <= longest; length *= 2) {
    Warp attend{args,
                sequence,
                shared.query[warp],
                {LaneRow(args, sequence, begin + Warp::g(), group),
                 LaneRow(args, sequence, begin + Warp::g() + 8, group)},
                part,
                0,
                0};
    if (!attend.restrict_to(length)) continue;
    attend.load_query();
    if (partials != nullptr)
      attend.attend_one(length, piece, partials);
    else
      attend.attend_all(length);
  }
}

// A block for each row and head.
__global__ void __launch_bounds__(kMergeThreads) merge_pieces(AttentionArgs args, float* partials) {
  const int64_t row = blockIdx.x, head = blockIdx.y;
  const SequenceSpan sequence =
      find_sequence<kMergeThreads>(args.sequences, args.num_sequences, static_cast<int32_t>(row));
  if (sequence.rows == 0) return;
  const auto own = sequence.position_begin + static_cast<int32_t>(row) - sequence.row_begin;
  const int32_t length = piece_length(own);
  const int32_t first = first_seen(own, args.sliding_window) / length;
  for (int32_t col = threadIdx.x; col < args.kv.head_dim; col += kMergeThreads) {
    Softmax softmax;
    float sum = 0;
    for (int32_t piece = first; piece <= own / length; ++piece) {
      const float* partial = partial_of(partials, args, row, head, piece);
      const Factors factors = merge(softmax, {partial[0], partial[1]});
      sum = merge(sum, partial[2 + col], factors);
    }
    store_at(args.target, row, head * args.kv.head_dim + col, sum * (1.0f / softmax.total));
  }
}

template <typename T, int kDim, int kWarps>
void launch_fragments(const AttentionArgs& args, float* partials, CudaStream& stream) {
  const int32_t kv_heads = args.kv.num_key_value_heads;
  const auto group = static_cast<int32_t>(args.query.cols / args.kv.head_dim / kv_heads);
  const int64_t blocks_of_row = ceil_div(group, kWarps * kFragmentRows);
  const int64_t parts = Attend<T, kDim, kWarps>::kParts * (partials != nullptr ? kPieces : 1);
  const dim3 grid(static_cast<unsigned>(args.query.rows), static_cast<unsigned>(kv_heads),
                  static_cast<unsigned>(blocks_of_row * parts));
  stream.launch("attention", grid, kWarps * kWarpThreads, attend_fragments<T, kDim, kWarps>, args,
                group, partials);
}

template <typename T, int kWarps>
void launch_dim(const AttentionArgs& args, float* partials, CudaStream& stream) {
  if (args.kv.head_dim <= 64) return launch_fragments<T, 64, kWarps>(args, partials, stream);
  if (args.kv.head_dim <= 128) return launch_fragments<T, 128, kWarps>(args, partials, stream);
  launch_fragments<T, 256, kWarps>(args, partials, stream);
}

template <typename T>
void launch_cells(const AttentionArgs& args, float* partials, CudaStream& stream) {
  if (partials == nullptr) return launch_dim<T, 4>(args, partials, stream);
  launch_dim<T, 1>(args, partials, stream);
  const dim3 grid(static_cast<unsigned>(args.query.rows),
                  static_cast<unsigned>(args.query.cols / args.kv.head_dim));
  stream.launch("attention_merge", grid, kMergeThreads, merge_pieces, args, partials);
}

}  // namespace

// --------------------------------------------------------------------------------------------------

bool takes_tensor_attention(const AttentionArgs& args) {
  return args.kv.dtype != DType::kF32 && args.kv.head_dim % 8 == 0 &&
         args.kv.head_dim <= kMaxHeadDim && args.kv.block_bytes % 16 == 0 &&
         reinterpret_cast<uintptr_t>(args.kv.base) % 16 == 0;
}

void launch_attention_tensor(const AttentionArgs& args, const AttentionScratch& scratch,
                             CudaStream& stream) {
  if (args.query.rows == 0) return;
  const int64_t pairs = args.query.rows * args.query.cols / args.kv.head_dim;
  const bool split = args.query.rows * args.kv.num_key_value_heads < kEnoughWarps &&
                     pairs * kPieces * (args.kv.head_dim + 2) <= scratch.floats;
  float* partials = split ? scratch.partials : nullptr;
  if (args.kv.dtype == DType::kI8) return launch_cells<int8_t>(args, partials, stream);
  if (args.kv.dtype == DType::kF16) return launch_cells<__half>(args, partials, stream);
  launch_cells<__nv_bfloat16>(args, partials, stream);
}

}  // namespace zerostream
