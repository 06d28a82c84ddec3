// Attention over paged keys and values, with the softmax kept up as it goes.
//
// A block computes the query heads of one row that share a KV head. It goes through the positions
// by tiles that begin at multiples of kTile, whatever the row: sums have the same order for a row
// in any call.
#include "base/require.h"
#include "gpu/launchers.h"
#include "gpu/sequences.cuh"

namespace zerostream {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kTile = kWarpThreads;  // positions; a lane computes the score of one
constexpr int kHeads = 8;            // most query heads of a block
constexpr int kHeadsOfWarp = kHeads / kWarps;
constexpr int kColsOfThread = kMaxHeadDim / kThreads;

struct Tile {
  int64_t begin;  // of positions, a multiple of kTile
  int32_t from;   // positions from .. to - 1 of it are seen
  int32_t to;
};

struct Shared {
  float cells[kTile][kMaxHeadDim + 1];  // keys, then values; lanes read columns without conflict
  float query[kHeads][kMaxHeadDim];
  float weights[kHeads][kTile];
  float factors[kHeads];  // what sums so far are multiplied by
};

// Keys (run: the head) or values (run: KV heads + the head) of a tile, a warp for each position.
template <typename T>
__device__ void load_tile(Shared& shared, const KvLayerView& kv, const int32_t* block_table,
                          int64_t run, const Tile& tile) {
  const int lane = threadIdx.x % kWarpThreads;
  for (int32_t i = tile.from + static_cast<int32_t>(threadIdx.x / kWarpThreads); i < tile.to;
       i += kWarps) {
    const int64_t position = tile.begin + i;
    const int64_t block = block_table[position / kv.block_tokens];
    const int64_t slot = position % kv.block_tokens;
    const T* cells = kv_cells<T>(kv, block, run, slot);
    float scale = 1.0f;
    if constexpr (sizeof(T) == 1) scale = *kv_scale(kv, block, run, slot);
    for (int32_t col = lane; col < kv.head_dim; col += kWarpThreads)
      shared.cells[i][col] = to_float(cells[col]) * scale;
  }
}

// Running softmax of one head, the same in all lanes of its warp.
struct Softmax {
  float largest = -INFINITY;
  float total = 0;
};

__device__ void weigh_tile(Shared& shared, const AttentionArgs& args, const Tile& tile, int head,
                           float slope, int64_t own, Softmax& softmax) {
  const int lane = threadIdx.x % kWarpThreads;
  const bool seen = lane >= tile.from && lane < tile.to;
  float score = -INFINITY;
  if (seen) {
    float dot = 0;
    for (int32_t col = 0; col < args.kv.head_dim; ++col)
      dot = fmaf(shared.query[head][col], shared.cells[lane][col], dot);
    score = dot * args.scale + slope * static_cast<float>(tile.begin + lane - own);
  }
  const float largest = fmaxf(softmax.largest, warp_largest(score));
  const float factor = expf(softmax.largest - largest);
  const float weight = seen ? expf(score - largest) : 0.0f;
  softmax.total = softmax.total * factor + warp_sum(weight);
  softmax.largest = largest;
  shared.weights[head][lane] = weight;
  if (lane == 0) shared.factors[head] = factor;
}

// Positions that are not seen add nothing, whatever rests in their cells.
__device__ void add_values(const Shared& shared, const Tile& tile, int32_t dim, int heads,
                           float (&sums)[kHeads][kColsOfThread]) {
#pragma unroll
  for (int c = 0; c < kColsOfThread; ++c) {
    const int32_t col = static_cast<int32_t>(threadIdx.x) + c * kThreads;
    if (col >= dim) continue;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= heads) continue;
      float sum = sums[h][c] * shared.factors[h];
      for (int32_t i = tile.from; i < tile.to; ++i)
        sum = fmaf(shared.weights[h][i], shared.cells[i][col], sum);
      sums[h][c] = sum;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) attend_row(AttentionArgs args, int32_t group) {
  __shared__ Shared shared;
  const int64_t row = blockIdx.x;
  const SequenceSpan sequence =
      find_sequence<kThreads>(args.sequences, args.num_sequences, static_cast<int32_t>(row));
  if (sequence.rows == 0) return;
  const int32_t dim = args.kv.head_dim;
  const int64_t kv_head = blockIdx.y, part = int64_t{blockIdx.z} * kHeads;
  const int64_t head_begin = kv_head * group + part;
  const int heads = group - part < kHeads ? static_cast<int>(group - part) : kHeads;
  const int warp = threadIdx.x / kWarpThreads;
  const float* query = row_of<float>(args.query, row) + head_begin * dim;
  for (int32_t i = threadIdx.x; i < heads * dim; i += kThreads)
    shared.query[i / dim][i % dim] = query[i];

  const int64_t own = sequence.position_begin + row - sequence.row_begin;
  const int64_t first =
      args.sliding_window > 0 && own >= args.sliding_window ? own - args.sliding_window + 1 : 0;
  Softmax softmax[kHeadsOfWarp];
  float sums[kHeads][kColsOfThread] = {};
  for (int64_t begin = first / kTile * kTile; begin <= own; begin += kTile) {
    const Tile tile = {begin, static_cast<int32_t>(first > begin ? first - begin : 0),
                       static_cast<int32_t>(own - begin < kTile ? own - begin + 1 : kTile)};
    __syncthreads();
    load_tile<T>(shared, args.kv, sequence.block_table, kv_head, tile);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kHeadsOfWarp; ++i) {
      const int head = warp + i * kWarps;
      if (head >= heads) continue;
      const float slope = args.alibi_slopes ? args.alibi_slopes[head_begin + head] : 0.0f;
      weigh_tile(shared, args, tile, head, slope, own, softmax[i]);
    }
    __syncthreads();
    load_tile<T>(shared, args.kv, sequence.block_table, args.kv.num_key_value_heads + kv_head,
                 tile);
    __syncthreads();
    add_values(shared, tile, dim, heads, sums);
  }

  __syncthreads();
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i)
    if (threadIdx.x % kWarpThreads == 0 && warp + i * kWarps < heads)
      shared.factors[warp + i * kWarps] = 1.0f / softmax[i].total;
  __syncthreads();
#pragma unroll
  for (int c = 0; c < kColsOfThread; ++c) {
    const int32_t col = static_cast<int32_t>(threadIdx.x) + c * kThreads;
#pragma unroll
    for (int h = 0; h < kHeads; ++h)
      if (h < heads && col < dim)
        store_at(args.target, row, (head_begin + h) * dim + col, sums[h][c] * shared.factors[h]);
  }
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_attention(const AttentionArgs& args, CudaStream& stream) {
  require(args.kv.head_dim <= kMaxHeadDim, "a head has at most 256 columns on a GPU");
  if (args.query.rows == 0) return;
  const int32_t kv_heads = args.kv.num_key_value_heads;
  const auto group = static_cast<int32_t>(args.query.cols / args.kv.head_dim / kv_heads);
  const dim3 grid(static_cast<unsigned>(args.query.rows), static_cast<unsigned>(kv_heads),
                  static_cast<unsigned>(ceil_div(group, kHeads)));
  with_kv_type(args.kv.dtype, [&](auto cell) {
    stream.launch("attention", grid, kThreads, attend_row<decltype(cell)>, args, group);
  });
}

}  // namespace zerostream
