// y = x · Wᵀ with its epilogue, in fp32 arithmetic.
//
// A block computes 64 outputs, a panel, of kRows rows; both go through the inputs by tiles. Each
// sum is made by one thread with the inputs ascending, so its bits do not depend on kRows, on the
// other rows, or on where the weight is cut.
#include "base/require.h"
#include "gpu/launchers.h"
#include "gpu/linear_epilogue.cuh"

namespace zerostream {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = static_cast<int>(kPanelOutputs);
constexpr int kOutputsOfThread = 4;
constexpr int kRowGroups = kThreads / (kOutputs / kOutputsOfThread);
constexpr int kFewRows = kRowGroups;       // a row for each thread
constexpr int kManyRows = 4 * kRowGroups;  // four

template <int kInputs, int kRows>
struct Shared {
  float weight[kInputs][kOutputs];
  float source[kRows][kInputs + 1];
};

template <int kRows>
struct Sums {
  float of[kRows / kRowGroups][kOutputsOfThread] = {};
};

// How weights of a kind come to shared memory: `load` fills the next kInputs inputs of a panel.
template <typename T>
struct FloatWeight {
  static constexpr int kInputs = static_cast<int>(kTileBytes / (kPanelOutputs * sizeof(T)));
  static constexpr int kGroup = 4 / sizeof(T);  // inputs of an output that lie together

  template <int kRows>
  static __device__ void load(Shared<kInputs, kRows>& shared, const PackedWeight& weight,
                              int64_t panel_bytes, int64_t panel, int64_t input) {
    if (weight.layout == WeightLayout::kTile64)
      load_tile(shared, weight.data + panel * panel_bytes + input / kInputs * kTileBytes);
    else
      load_rows(shared, weight, panel, input);
  }

  template <int kRows>
  static __device__ void load_tile(Shared<kInputs, kRows>& shared, const std::byte* tile) {
    for (int i = threadIdx.x; i < static_cast<int>(kTileBytes / 4); i += kThreads) {
      const T* group = reinterpret_cast<const T*>(tile) + i * kGroup;
      for (int j = 0; j < kGroup; ++j)
        shared.weight[i / kOutputs * kGroup + j][i % kOutputs] = to_float(group[j]);
    }
  }

  template <int kRows>
  static __device__ void load_rows(Shared<kInputs, kRows>& shared, const PackedWeight& weight,
                                   int64_t panel, int64_t input) {
    for (int i = threadIdx.x; i < kOutputs * kInputs; i += kThreads) {
      const int64_t output = panel * kOutputs + i / kInputs, at = input + i % kInputs;
      const bool inside = output < weight.outputs && at < weight.inputs;
      const T* element = reinterpret_cast<const T*>(weight.data) + output * weight.inputs + at;
      shared.weight[i % kInputs][i / kInputs] = inside ? to_float(*element) : 0.0f;
    }
  }
};

// Of kBits bits. All of the inputs that are loaded at once lie in one group.
template <int kBits>
struct QuantisedWeight {
  static constexpr int kInputs = 32;
  static constexpr int kTileInputs = 512 / kBits;

  template <int kRows>
  static __device__ void load(Shared<kInputs, kRows>& shared, const PackedWeight& weight,
                              int64_t panel_bytes, int64_t panel, int64_t input) {
    const std::byte* data = weight.data + panel * panel_bytes;
    const int64_t tiles = (weight.inputs + kTileInputs - 1) / kTileInputs;
    const std::byte* group = data + tiles * kTileBytes +
                             input / weight.group_size * kOutputs * (weight.has_zeros ? 3 : 2);
    const auto within = static_cast<int>(input % kTileInputs);
    const auto* words = reinterpret_cast<const uint32_t*>(data + input / kTileInputs * kTileBytes +
                                                          within % 64 * kOutputs);
    const int shift = within < 64 ? 0 : 4;
    for (int i = threadIdx.x; i < kInputs / 4 * kOutputs; i += kThreads) {
      const int output = i % kOutputs;
      const float scale = to_float(reinterpret_cast<const __half*>(group)[output]);
      const int zero =
          weight.has_zeros ? static_cast<int>(group[2 * kOutputs + output]) : 1 << (kBits - 1);
      for (int j = 0; j < 4; ++j) {
        const auto q = static_cast<int>(words[i] >> (8 * j + shift) & ((1u << kBits) - 1));
        shared.weight[i / kOutputs * 4 + j][output] = scale * static_cast<float>(q - zero);
      }
    }
  }
};

template <typename T, int kInputs, int kRows>
__device__ void load_source(Shared<kInputs, kRows>& shared, const TensorView& source,
                            int64_t row_begin, int64_t input) {
  for (int i = threadIdx.x; i < kRows * kInputs; i += kThreads) {
    const int64_t row = row_begin + i / kInputs, at = input + i % kInputs;
    const bool inside = row < source.rows && at < source.cols;
    shared.source[i / kInputs][i % kInputs] = inside ? to_float(row_of<T>(source, row)[at]) : 0.0f;
  }
}

// The sums of one panel of the weight.
template <typename T, typename Weight, int kRows>
__device__ Sums<kRows> multiply(Shared<Weight::kInputs, kRows>& shared, const LinearArgs& args,
                                int64_t panel_bytes, int64_t panel, int64_t row_begin) {
  const int row = threadIdx.x / (kOutputs / kOutputsOfThread);
  const int output = threadIdx.x % (kOutputs / kOutputsOfThread) * kOutputsOfThread;
  Sums<kRows> sums;
  for (int64_t input = 0; input < args.weight.inputs; input += Weight::kInputs) {
    __syncthreads();
    Weight::load(shared, args.weight, panel_bytes, panel, input);
    load_source<T>(shared, args.source, row_begin, input);
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < Weight::kInputs; ++k)
#pragma unroll
      for (int r = 0; r < kRows / kRowGroups; ++r)
#pragma unroll
        for (int j = 0; j < kOutputsOfThread; ++j)
          sums.of[r][j] = fmaf(shared.source[row + r * kRowGroups][k], shared.weight[k][output + j],
                               sums.of[r][j]);
  }
  return sums;
}

template <typename T, typename Weight, int kRows, bool kGated>
__global__ void __launch_bounds__(kThreads, 2)
    multiply_panel(LinearArgs args, int64_t panel_bytes) {
  __shared__ Shared<Weight::kInputs, kRows> shared;
  const int64_t row_begin = int64_t{blockIdx.x} * kRows, panel = blockIdx.y;
  const int64_t first = kGated ? 2 * panel : panel;
  const Sums<kRows> sums = multiply<T, Weight>(shared, args, panel_bytes, first, row_begin);
  Sums<kRows> up;
  if constexpr (kGated) up = multiply<T, Weight>(shared, args, panel_bytes, first + 1, row_begin);

  const int64_t row = row_begin + threadIdx.x / (kOutputs / kOutputsOfThread);
  const int64_t col =
      panel * kOutputs + threadIdx.x % (kOutputs / kOutputsOfThread) * kOutputsOfThread;
#pragma unroll
  for (int r = 0; r < kRows / kRowGroups; ++r)
#pragma unroll
    for (int j = 0; j < kOutputsOfThread; ++j) {
      if (row + r * kRowGroups >= args.target.rows || col + j >= args.target.cols) continue;
      if constexpr (kGated)
        finish_gated(args, row + r * kRowGroups, col + j, sums.of[r][j], up.of[r][j]);
      else
        finish(args, row + r * kRowGroups, col + j, sums.of[r][j]);
    }
}

template <typename T, typename Weight, int kRows>
void launch_tiles(const LinearArgs& args, CudaStream& stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(args.target.rows, kRows)),
                  static_cast<unsigned>(ceil_div(args.target.cols, kPanelOutputs)));
  const auto kernel = args.epilogue == Epilogue::kGated ? multiply_panel<T, Weight, kRows, true>
                                                        : multiply_panel<T, Weight, kRows, false>;
  stream.launch("linear", grid, kThreads, kernel, args, args.weight.panel_bytes());
}

template <typename T, typename Weight>
void launch_weight(const LinearArgs& args, CudaStream& stream) {
  if (args.target.rows <= kFewRows)
    launch_tiles<T, Weight, kFewRows>(args, stream);
  else
    launch_tiles<T, Weight, kManyRows>(args, stream);
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_linear(const LinearArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return;
  if (args.weight.group_size == 0)
    return with_float_type(args.source.dtype, [&](auto source) {
      launch_weight<decltype(source), FloatWeight<decltype(source)>>(args, stream);
    });
  require(args.source.dtype == DType::kF32, "quantised weights meet 16-bit sources elsewhere");
  if (args.weight.dtype == DType::kI8)
    launch_weight<float, QuantisedWeight<8>>(args, stream);
  else
    launch_weight<float, QuantisedWeight<4>>(args, stream);
}

}  // namespace zerostream
