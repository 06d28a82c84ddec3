// Operations on single rows: a block for each.
#include "gpu/device_code.cuh"
#include "gpu/launchers.h"

namespace zerostream {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) embed_row(EmbedArgs args) {
  const int64_t row = blockIdx.x;
  const T* source = reinterpret_cast<const T*>(args.table + args.byte_offsets[row]);
  float* target = row_of<float>(args.target, row);
  for (int64_t col = threadIdx.x; col < args.target.cols; col += kThreads) {
    const float value = to_float(source[col]);
    target[col] = args.accumulate ? target[col] + value : value;
  }
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) convert_row(ConvertArgs args) {
  const int64_t row = blockIdx.x;
  const From* source = row_of<From>(args.source, args.row_indices ? args.row_indices[row] : row);
  To* target = row_of<To>(args.target, row);
  for (int64_t col = threadIdx.x; col < args.source.cols; col += kThreads)
    store(target + col, to_float(source[col]));
}

// A thread writes only columns that no other reads: source and target may be the same.
template <typename T>
__global__ void __launch_bounds__(kThreads) norm_row(NormArgs args) {
  const int64_t row = blockIdx.x, cols = args.source.cols;
  const float* source = row_of<float>(args.source, args.row_indices ? args.row_indices[row] : row);
  T* target = row_of<T>(args.target, row);
  float mean = 0;
  if (args.kind == NormKind::kLayerNorm) {
    for (int64_t col = threadIdx.x; col < cols; col += kThreads) mean += source[col];
    mean = block_sum<kThreads>(mean) / static_cast<float>(cols);
  }
  float squares = 0;
  for (int64_t col = threadIdx.x; col < cols; col += kThreads)
    squares += (source[col] - mean) * (source[col] - mean);
  const float mean_square = block_sum<kThreads>(squares) / static_cast<float>(cols);
  const float factor = 1.0f / sqrtf(mean_square + args.epsilon);
  for (int64_t col = threadIdx.x; col < cols; col += kThreads) {
    float value = (source[col] - mean) * factor;
    if (args.weight != nullptr) value *= args.weight[col];
    if (args.bias != nullptr) value += args.bias[col];
    store(target + col, value);
  }
}

dim3 grid_of(const TensorView& target) { return {static_cast<unsigned>(target.rows)}; }

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_embed(const EmbedArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return;
  with_float_type(args.dtype, [&](auto table) {
    stream.launch("embed", grid_of(args.target), kThreads, embed_row<decltype(table)>, args);
  });
}

void launch_convert(const ConvertArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return;
  with_float_type(args.source.dtype, [&](auto from) {
    with_float_type(args.target.dtype, [&](auto to) {
      stream.launch("convert", grid_of(args.target), kThreads,
                    convert_row<decltype(from), decltype(to)>, args);
    });
  });
}

void launch_norm(const NormArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return;
  with_float_type(args.target.dtype, [&](auto target) {
    stream.launch("norm", grid_of(args.target), kThreads, norm_row<decltype(target)>, args);
  });
}

}  // namespace zerostream
