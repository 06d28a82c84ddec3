// What becomes of the sums of a matrix product: bias, activation, gate, addition.
#pragma once

#include "gpu/device_code.cuh"

namespace zerostream {

__device__ __forceinline__ float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kGelu:
      return 0.5f * x * (1 + erff(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::kSilu:
      return __fdividef(x, 1 + expf(-x));
  }
  return x;
}

__device__ __forceinline__ float with_bias(const LinearArgs& args, float sum, int64_t output) {
  return args.bias != nullptr ? sum + args.bias[output] : sum;
}

// Element [row, col] of the target from its sum, any epilogue but kGated.
__device__ __forceinline__ void finish(const LinearArgs& args, int64_t row, int64_t col,
                                       float sum) {
  float value = with_bias(args, sum, col);
  if (args.epilogue == Epilogue::kAdd) value += row_of<float>(args.target, row)[col];
  if (args.epilogue == Epilogue::kActivate) value = activate(value, args.activation);
  store_at(args.target, row, col, value);
}

// The gate output of column `col` of a gated target; its up output comes a panel later.
__device__ __forceinline__ int64_t gate_output(int64_t col) {
  return col / kPanelOutputs * 2 * kPanelOutputs + col % kPanelOutputs;
}

// Element [row, col] of the target from the sums of its gate and its up output.
__device__ __forceinline__ void finish_gated(const LinearArgs& args, int64_t row, int64_t col,
                                             float gate, float up) {
  const int64_t output = gate_output(col);
  store_at(args.target, row, col,
           activate(with_bias(args, gate, output), args.activation) *
               with_bias(args, up, output + kPanelOutputs));
}

}  // namespace zerostream
