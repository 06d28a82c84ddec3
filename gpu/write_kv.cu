// Queries, keys and values of a row to where attention reads them: a warp for each head.
#include "base/require.h"
#include "gpu/launchers.h"
#include "gpu/sequences.cuh"

namespace zerostream {
namespace {

constexpr int kThreads = 256;  // few blocks read the same rotations
constexpr int kWarps = kThreads / kWarpThreads;

// head[i] = source[i], divided by its root mean square and multiplied by `norm` if that is given.
__device__ void load_head(float* head, const float* source, const float* norm, float epsilon,
                          int32_t dim, int lane) {
  if (norm == nullptr) {
    for (int32_t i = lane; i < dim; i += kWarpThreads) head[i] = source[i];
    return;
  }
  float squares = 0;
  for (int32_t i = lane; i < dim; i += kWarpThreads) squares += source[i] * source[i];
  const float factor = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(dim) + epsilon);
  for (int32_t i = lane; i < dim; i += kWarpThreads) head[i] = source[i] * factor * norm[i];
}

__device__ void rotate(float* head, const WriteKvArgs& args, int64_t row, int lane) {
  const bool half = args.rope == RopeKind::kHalf;
  for (int32_t i = lane; i < args.rope_cols; i += kWarpThreads) {
    const float cosine = args.rope_cos[row * args.rope_cols + i];
    const float sine = args.rope_sin[row * args.rope_cols + i];
    float& first = head[half ? i : 2 * i];
    float& second = head[half ? i + args.rope_cols : 2 * i + 1];
    const float x = first, y = second;
    first = x * cosine - y * sine;
    second = y * cosine + x * sine;
  }
}

template <typename T>
__device__ void write_cells(const KvLayerView& kv, int64_t block, int64_t run, int64_t slot,
                            const float* head, int lane) {
  T* cells = kv_cells<T>(kv, block, run, slot);
  for (int32_t i = lane; i < kv.head_dim; i += kWarpThreads) store(cells + i, head[i]);
}

// With a scale that is NaN if something is not finite.
template <>
__device__ void write_cells<int8_t>(const KvLayerView& kv, int64_t block, int64_t run, int64_t slot,
                                    const float* head, int lane) {
  float largest = 0;
  for (int32_t i = lane; i < kv.head_dim; i += kWarpThreads) {
    const float magnitude = fabsf(head[i]);
    largest = magnitude < INFINITY ? fmaxf(largest, magnitude) : INFINITY;
  }
  largest = warp_largest(largest);
  const float scale = largest < INFINITY ? largest / 127.0f : NAN;
  int8_t* cells = kv_cells<int8_t>(kv, block, run, slot);
  for (int32_t i = lane; i < kv.head_dim; i += kWarpThreads)
    cells[i] = scale > 0
                   ? static_cast<int8_t>(fminf(fmaxf(rintf(head[i] / scale), -127.0f), 127.0f))
                   : int8_t{0};
  if (lane == 0) *kv_scale(kv, block, run, slot) = scale;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) write_heads(WriteKvArgs args) {
  __shared__ float memory[kWarps][kMaxHeadDim];
  const int64_t row = blockIdx.x;
  const SequenceSpan sequence =
      find_sequence<kThreads>(args.sequences, args.num_sequences, static_cast<int32_t>(row));
  const int warp = threadIdx.x / kWarpThreads, lane = threadIdx.x % kWarpThreads;
  const int32_t dim = args.kv.head_dim, kv_heads = args.kv.num_key_value_heads;
  const auto heads = static_cast<int32_t>(args.query.cols / dim);
  const int32_t h = static_cast<int32_t>(blockIdx.y) * kWarps + warp;
  if (sequence.rows == 0 || h >= heads + 2 * kv_heads) return;

  float* head = memory[warp];
  const bool is_query = h < heads, is_value = h >= heads + kv_heads;
  const float* norm = is_query ? args.query_norm : is_value ? nullptr : args.key_norm;
  load_head(head, row_of<float>(args.qkv, row) + int64_t{h} * dim, norm, args.norm_epsilon, dim,
            lane);
  __syncwarp();
  if (args.rope != RopeKind::kNone && !is_value) rotate(head, args, row, lane);
  __syncwarp();
  if (is_query) {
    float* target = row_of<float>(args.query, row) + int64_t{h} * dim;
    for (int32_t i = lane; i < dim; i += kWarpThreads) target[i] = head[i];
    return;
  }
  const int64_t position = sequence.position_begin + row - sequence.row_begin;
  write_cells<T>(args.kv, sequence.block_table[position / args.kv.block_tokens], h - heads,
                 position % args.kv.block_tokens, head, lane);
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_write_kv(const WriteKvArgs& args, CudaStream& stream) {
  require(args.kv.head_dim <= kMaxHeadDim, "a head has at most 256 columns on a GPU");
  if (args.qkv.rows == 0) return;
  const int64_t heads = args.qkv.cols / args.kv.head_dim;
  const dim3 grid(static_cast<unsigned>(args.qkv.rows),
                  static_cast<unsigned>(ceil_div(heads, kWarps)));
  with_kv_type(args.kv.dtype, [&](auto cell) {
    stream.launch("write_kv", grid, kThreads, write_heads<decltype(cell)>, args);
  });
}

}  // namespace zerostream
