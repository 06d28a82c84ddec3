// y = x · Wᵀ with its epilogue on tensor cores, for weights in tiles and 16-bit sources.
//
// Lanes read their fragments straight from memory: four adjacent bytes of a tile are a pair of
// inputs of one output, just what a lane hands to a tensor core. Each sum goes through the inputs
// ascending by 32, whatever the rows of a warp or the outputs of a block: its bits depend on
// nothing else. Quantised weights are multiplied as the integers q - zero, which 16 bits hold
// exactly; the scale comes in fp32 after each 32 inputs.
#include "gpu/fragments.cuh"
#include "gpu/launchers.h"
#include "gpu/linear_epilogue.cuh"

namespace zerostream {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kFragmentRows = 16;
constexpr int kFragmentOutputs = 8;
constexpr int kStep = 32;  // inputs; lane t of a group holds 8 * t .. 8 * t + 7 of them
constexpr int kOutputs = static_cast<int>(kPanelOutputs);

// How a warp divides outputs of a panel: kWide adjacent ones for each lane g, so that a lane reads
// them at once, fragment j the j % kWide-th of them. What it reads comes kAhead steps before it is
// multiplied: few outputs leave registers for it, and need it, as few warps share the work.
template <int kFragments, int kWidth, int kSteps>
struct Columns {
  static constexpr int kCount = kFragments;
  static constexpr int kWide = kWidth;
  static constexpr int kAhead = kSteps;
  // Output, within the warp's, of column `col` of fragment j.
  static __device__ __forceinline__ int output(int j, int col) {
    return j / kWide * (kFragmentOutputs * kWide) + kWide * col + j % kWide;
  }
};
using FewColumns = Columns<2, 2, 6>;  // a warp has a quarter of a panel
using AllColumns = Columns<8, 4, 1>;  // a whole one

template <int kRowTiles, typename Cols>
struct Sums {
  float of[kRowTiles][Cols::kCount][4] = {};
};

// Inputs of the source: for rows g and g + 8 of each tile, 8 of a lane.
template <int kRowTiles>
struct SourceStep {
  uint4 rows[kRowTiles][2];

  // The fragment of the lane's pairs 2 * half and 2 * half + 1.
  __device__ __forceinline__ void fragment(uint32_t (&a)[4], int tile, int half) const {
    const uint4 &low = rows[tile][0], &high = rows[tile][1];
    a[0] = half == 0 ? low.x : low.z;
    a[1] = half == 0 ? high.x : high.z;
    a[2] = half == 0 ? low.y : low.w;
    a[3] = half == 0 ? high.y : high.w;
  }
};

template <int kRowTiles>
__device__ __forceinline__ SourceStep<kRowTiles> load_source(const TensorView& source,
                                                             int64_t row_begin, int64_t input) {
  const int lane = threadIdx.x % kWarpThreads;
  SourceStep<kRowTiles> step;
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int64_t row = row_begin + lane / 4 + 8 * i;
    step.rows[i / 2][i % 2] =
        row < source.rows
            ? *reinterpret_cast<const uint4*>(row_of<uint16_t>(source, row) + input + lane % 4 * 8)
            : uint4{0, 0, 0, 0};
  }
  return step;
}

// kWide words from each of the blocks of outputs that a warp has, at lane g's place.
template <typename Cols>
__device__ __forceinline__ void load_words(uint32_t (&words)[Cols::kCount], const uint32_t* row) {
  constexpr int kWide = Cols::kWide;
  const int g = threadIdx.x % kWarpThreads / 4;
#pragma unroll
  for (int j = 0; j < Cols::kCount; j += kWide) {
    const uint32_t* place = row + Cols::output(j, g);
    if constexpr (kWide == 4) {
      const uint4 four = *reinterpret_cast<const uint4*>(place);
      words[j] = four.x, words[j + 1] = four.y, words[j + 2] = four.z, words[j + 3] = four.w;
    } else {
      const uint2 two = *reinterpret_cast<const uint2*>(place);
      words[j] = two.x, words[j + 1] = two.y;
    }
  }
}

// A panel of a weight; the warp's outputs begin at output_begin.
struct Panel {
  const std::byte* tiles;
  const std::byte* groups;
  int output_begin;
  int32_t group_size;
  bool has_zeros;

  // The words of a tile that begin with those of `row`, in every kind of tile 4 bytes for each
  // output.
  __device__ __forceinline__ const uint32_t* words(int64_t tile, int row) const {
    return reinterpret_cast<const uint32_t*>(tiles + tile * kTileBytes) + row * kOutputs +
           output_begin;
  }
};

// Kinds of weights: Step is what a lane reads for kStep inputs of its rows and outputs.
template <typename T>
struct FloatWeight {
  static constexpr int kTileInputs = 32;

  template <int kRowTiles, typename Cols>
  struct Step {
    SourceStep<kRowTiles> from;
    uint32_t pairs[4][Cols::kCount];

    __device__ __forceinline__ void load(const Panel& panel, const TensorView& source,
                                         int64_t row_begin, int64_t input) {
      const uint32_t* words =
          panel.words(input / kTileInputs, static_cast<int>(threadIdx.x % 4) * 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) load_words<Cols>(pairs[i], words + i * kOutputs);
      from = load_source<kRowTiles>(source, row_begin, input);
    }

    __device__ __forceinline__ void add_to(Sums<kRowTiles, Cols>& sums) const {
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          uint32_t a[4];
          from.fragment(a, tile, half);
#pragma unroll
          for (int j = 0; j < Cols::kCount; ++j)
            multiply_add<T>(sums.of[tile][j], a, {pairs[2 * half][j], pairs[2 * half + 1][j]});
        }
    }
  };
};

template <typename T, int kBits>
struct QuantisedWeight {
  static constexpr int kTileInputs = 512 / kBits;

  template <int kRowTiles, typename Cols>
  struct Step {
    SourceStep<kRowTiles> from;
    uint32_t words[2][Cols::kCount];
    int shift;                       // to the first bit of a number in each byte
    uint8_t zeros[Cols::kCount];     // of the outputs whose words lane g reads
    __half scales[Cols::kCount][2];  // of those whose sums it has

    __device__ __forceinline__ void load(const Panel& panel, const TensorView& source,
                                         int64_t row_begin, int64_t input) {
      const auto within = static_cast<int>(input % kTileInputs);
      const uint32_t* quads =
          panel.words(input / kTileInputs, within % 64 / 4 + static_cast<int>(threadIdx.x % 4) * 2);
      load_words<Cols>(words[0], quads);
      load_words<Cols>(words[1], quads + kOutputs);
      shift = within < 64 ? 0 : 4;
      load_group(panel, input);
      from = load_source<kRowTiles>(source, row_begin, input);
    }

    // All inputs of a step lie in one group.
    __device__ __forceinline__ void load_group(const Panel& panel, int64_t input) {
      const int lane = threadIdx.x % kWarpThreads;
      const std::byte* group =
          panel.groups + input / panel.group_size * (kOutputs * (panel.has_zeros ? 3 : 2));
      const auto* group_scales = reinterpret_cast<const __half*>(group) + panel.output_begin;
      const std::byte* group_zeros = group + 2 * kOutputs + panel.output_begin;
#pragma unroll
      for (int j = 0; j < Cols::kCount; ++j) {
        zeros[j] = panel.has_zeros ? static_cast<uint8_t>(group_zeros[Cols::output(j, lane / 4)])
                                   : uint8_t{1 << (kBits - 1)};
        for (int col = 0; col < 2; ++col)
          scales[j][col] = group_scales[Cols::output(j, lane % 4 * 2 + col)];
      }
    }

    __device__ __forceinline__ void add_to(Sums<kRowTiles, Cols>& sums) const {
      constexpr uint32_t kMask = kBits == 4 ? 0x0f0f0f0fu : 0xffffffffu;
      Sums<kRowTiles, Cols> part;
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < Cols::kCount; ++j) {
          const uint2 pairs = unpack_bytes<T>(words[half][j] >> shift & kMask,
                                              kByteOffset + static_cast<float>(zeros[j]));
#pragma unroll
          for (int tile = 0; tile < kRowTiles; ++tile) {
            uint32_t a[4];
            from.fragment(a, tile, half);
            multiply_add<T>(part.of[tile][j], a, {pairs.x, pairs.y});
          }
        }
      scale(sums, part);
    }

    __device__ __forceinline__ void scale(Sums<kRowTiles, Cols>& sums,
                                          const Sums<kRowTiles, Cols>& part) const {
#pragma unroll
      for (int j = 0; j < Cols::kCount; ++j)
#pragma unroll
        for (int col = 0; col < 2; ++col) {
          const float factor = to_float(scales[j][col]);
#pragma unroll
          for (int tile = 0; tile < kRowTiles; ++tile) {
            float(&sum)[4] = sums.of[tile][j];
            sum[col] = fmaf(factor, part.of[tile][j][col], sum[col]);
            sum[2 + col] = fmaf(factor, part.of[tile][j][2 + col], sum[2 + col]);
          }
        }
    }
  };
};

// The sums of the warp's rows and outputs in panel `index`.
template <typename Weight, int kRowTiles, typename Cols>
__device__ __forceinline__ Sums<kRowTiles, Cols> multiply(const LinearArgs& args,
                                                          int64_t panel_bytes, int64_t index,
                                                          int64_t row_begin, int output_begin) {
  const PackedWeight& weight = args.weight;
  const std::byte* data = weight.data + index * panel_bytes;
  const int64_t tiles = (weight.inputs + Weight::kTileInputs - 1) / Weight::kTileInputs;
  const Panel panel = {data, data + tiles * kTileBytes, output_begin, weight.group_size,
                       weight.has_zeros};
  constexpr int kAhead = Cols::kAhead;
  typename Weight::template Step<kRowTiles, Cols> steps[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i == 0 || i * kStep < weight.inputs)
      steps[i].load(panel, args.source, row_begin, i * kStep);
  Sums<kRowTiles, Cols> sums;
  for (int64_t begin = 0; begin < weight.inputs; begin += kAhead * kStep)
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t input = begin + i * kStep, next = input + kAhead * kStep;
      if (input >= weight.inputs) break;
      steps[i].add_to(sums);
      if (next < weight.inputs) steps[i].load(panel, args.source, row_begin, next);
    }
  return sums;
}

// A warp computes kRowTiles * 16 rows: with FewColumns the warps of a block share the rows and
// divide a panel, else each has rows of its own and the whole panel.
template <typename Weight, int kRowTiles, typename Cols, bool kGated>
__global__ void __launch_bounds__(kThreads)
    multiply_fragments(LinearArgs args, int64_t panel_bytes) {
  constexpr int kWarpOutputs = Cols::kCount * kFragmentOutputs;
  constexpr int kWarpsOfPanel = kOutputs / kWarpOutputs;
  constexpr int kWarpRows = kRowTiles * kFragmentRows;
  const int warp = threadIdx.x / kWarpThreads, lane = threadIdx.x % kWarpThreads;
  const int64_t rows_of_block = int64_t{blockIdx.x} * (kWarps / kWarpsOfPanel);
  const int64_t row_begin = (rows_of_block + warp / kWarpsOfPanel) * kWarpRows;
  const int output_begin = warp % kWarpsOfPanel * kWarpOutputs;
  const int64_t panel = blockIdx.y, first = kGated ? 2 * panel : panel;
  if (row_begin >= args.target.rows) return;
  const auto sums =
      multiply<Weight, kRowTiles, Cols>(args, panel_bytes, first, row_begin, output_begin);
  Sums<kRowTiles, Cols> up;
  if constexpr (kGated)
    up = multiply<Weight, kRowTiles, Cols>(args, panel_bytes, first + 1, row_begin, output_begin);

#pragma unroll
  for (int tile = 0; tile < kRowTiles; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < Cols::kCount; ++j) {
        const int64_t row = row_begin + tile * kFragmentRows + i / 2 * 8 + lane / 4;
        const int64_t col = panel * kOutputs + output_begin + Cols::output(j, lane % 4 * 2 + i % 2);
        if (row >= args.target.rows || col >= args.target.cols) continue;
        if constexpr (kGated)
          finish_gated(args, row, col, sums.of[tile][j][i], up.of[tile][j][i]);
        else
          finish(args, row, col, sums.of[tile][j][i]);
      }
}

template <typename Weight, int kRowTiles, typename Cols>
void launch_fragments(const LinearArgs& args, CudaStream& stream) {
  constexpr int kBlockRows =
      kRowTiles * kFragmentRows * kWarps * Cols::kCount * kFragmentOutputs / kOutputs;
  const dim3 grid(static_cast<unsigned>(ceil_div(args.target.rows, kBlockRows)),
                  static_cast<unsigned>(ceil_div(args.target.cols, kPanelOutputs)));
  const auto kernel = args.epilogue == Epilogue::kGated
                          ? multiply_fragments<Weight, kRowTiles, Cols, true>
                          : multiply_fragments<Weight, kRowTiles, Cols, false>;
  stream.launch("linear", grid, kThreads, kernel, args, args.weight.panel_bytes());
}

template <typename Weight, int kRowTiles>
void launch_weight(const LinearArgs& args, CudaStream& stream) {
  if (args.target.rows <= kFragmentRows)
    launch_fragments<Weight, 1, FewColumns>(args, stream);
  else
    launch_fragments<Weight, kRowTiles, AllColumns>(args, stream);
}

template <typename T>
void launch_source(const LinearArgs& args, CudaStream& stream) {
  if (args.weight.dtype == DType::kI8)
    launch_weight<QuantisedWeight<T, 8>, 1>(args, stream);
  else if (args.weight.dtype == DType::kI4)
    launch_weight<QuantisedWeight<T, 4>, 1>(args, stream);
  else
    launch_weight<FloatWeight<T>, 2>(args, stream);
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_linear_tensor(const LinearArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return;
  if (args.source.dtype == DType::kF16)
    launch_source<__half>(args, stream);
  else
    launch_source<__nv_bfloat16>(args, stream);
}

}  // namespace zerostream
