// Weights in tiles as rows of numbers of 16 bits.
//
// A warp has eight outputs, four lanes for each: lanes of one output write 64 adjacent bytes, lanes
// of all read whole sectors of a tile.
#include "base/require.h"
#include "gpu/fragments.cuh"
#include "gpu/launchers.h"

namespace zerostream {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 4;       // of an output
constexpr int kLaneInputs = 8;  // that a lane stores at once
constexpr int kStep = kLanes * kLaneInputs;
constexpr int kBlockInputs = 128;
constexpr int kOutputs = static_cast<int>(kPanelOutputs);
static_assert(kThreads == kOutputs * kLanes);

// Word `word` and on of an output in a tile; those of an output lie kOutputs apart.
__device__ __forceinline__ const uint32_t* words_of(const std::byte* tile, int word, int output) {
  return reinterpret_cast<const uint32_t*>(tile) + word * kOutputs + output;
}

// Kinds of weights: `unpack` stores the lane's part of kStep inputs from `input` on, and of those
// that lie in the same bytes, to a row of `cols` numbers.
template <typename T>
struct FloatWeight {
  static constexpr int kHalves = 1;

  static __device__ __forceinline__ void unpack(const PackedWeight&, const std::byte* panel,
                                                int output, int64_t input, T* row, int64_t) {
    const int lane_input = static_cast<int>(threadIdx.x) % kLanes * kLaneInputs;
    const uint32_t* words = words_of(panel + input / kStep * kTileBytes, lane_input / 2, output);
    *reinterpret_cast<uint4*>(row + input + lane_input) = {
        words[0], words[kOutputs], words[2 * kOutputs], words[3 * kOutputs]};
  }
};

template <typename T, int kBits>
struct QuantisedWeight {
  static constexpr int kTileInputs = 512 / kBits;
  static constexpr int kHalves = 8 / kBits;  // of a byte: those of a tile's first inputs and last

  // The numbers in kBits bits of each byte of two words, those from `shift` on.
  static __device__ __forceinline__ void store_eight(const uint32_t (&words)[2], int shift,
                                                     float scale, float zero, T* target) {
    constexpr uint32_t kMask = kBits == 4 ? 0x0f0f0f0fu : 0xffffffffu;
    const auto pair = [&](uint32_t word, unsigned i) {
      return pack_pair<T>(scale * byte_number(word, i, zero),
                          scale * byte_number(word, i + 1, zero));
    };
    const uint32_t low = words[0] >> shift & kMask, high = words[1] >> shift & kMask;
    *reinterpret_cast<uint4*>(target) = {pair(low, 0), pair(low, 2), pair(high, 0), pair(high, 2)};
  }

  static __device__ __forceinline__ void unpack(const PackedWeight& weight, const std::byte* panel,
                                                int output, int64_t input, T* row, int64_t cols) {
    const int64_t lane_input = input + static_cast<int>(threadIdx.x) % kLanes * kLaneInputs;
    const uint32_t* place = words_of(panel + input / kTileInputs * kTileBytes,
                                     static_cast<int>(lane_input % kTileInputs) / 4, output);
    const uint32_t words[2] = {place[0], place[kOutputs]};
    const std::byte* groups = panel + (weight.inputs + kTileInputs - 1) / kTileInputs * kTileBytes;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int64_t at = lane_input + half * (kTileInputs / kHalves);
      if (at >= cols) return;
      const std::byte* group =
          groups + at / weight.group_size * (kOutputs * (weight.has_zeros ? 3 : 2));
      const int zero =
          weight.has_zeros ? static_cast<int>(group[2 * kOutputs + output]) : 1 << (kBits - 1);
      store_eight(words, half * kBits, to_float(reinterpret_cast<const __half*>(group)[output]),
                  kByteOffset + static_cast<float>(zero), row + at);
    }
  }
};

template <typename T, typename Weight>
__global__ void __launch_bounds__(kThreads)
    unpack_panel(PackedWeight weight, int64_t panel_bytes, TensorView target) {
  const int64_t panel = blockIdx.y, begin = int64_t{blockIdx.x} * kBlockInputs;
  const int output = static_cast<int>(threadIdx.x) / kLanes;
  T* row = row_of<T>(target, panel * kOutputs + output);
#pragma unroll
  for (int step = 0; step < kBlockInputs / Weight::kHalves; step += kStep)
    if (begin + step < target.cols)
      Weight::unpack(weight, weight.data + panel * panel_bytes, output, begin + step, row,
                     target.cols);
}

template <typename T>
void launch_type(const PackedWeight& weight, const TensorView& target, CudaStream& stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(target.cols, kBlockInputs)),
                  static_cast<unsigned>(weight.panels()));
  const auto kernel = weight.dtype == DType::kI8   ? unpack_panel<T, QuantisedWeight<T, 8>>
                      : weight.dtype == DType::kI4 ? unpack_panel<T, QuantisedWeight<T, 4>>
                                                   : unpack_panel<T, FloatWeight<T>>;
  stream.launch("unpack_weight", grid, kThreads, kernel, weight, weight.panel_bytes(), target);
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_unpack(const PackedWeight& weight, const TensorView& target, CudaStream& stream) {
  require(target.rows == weight.panels() * kPanelOutputs &&
              target.cols == round_up(weight.inputs, kStep) && target.row_stride % 8 == 0,
          "a row of whole steps for each output of each panel");
  if (target.dtype == DType::kF16)
    launch_type<__half>(weight, target, stream);
  else
    launch_type<__nv_bfloat16>(weight, target, stream);
}

}  // namespace zerostream
