#include "cpu/gemm_epilogue.h"

#include <algorithm>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_epilogue.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

HWY_INLINE FloatVec relu(FloatVec x) {
  const FloatVec zero = hn::Zero(Floats());
  return hn::IfThenElse(hn::Lt(x, zero), zero, x);
}

// x / (1 + e^-z). Highway's Exp is wrong far beyond the range of fp32.
HWY_INLINE FloatVec times_logistic(FloatVec x, FloatVec z) {
  const Floats d;
  const FloatVec exponent = hn::Min(hn::Neg(z), hn::Set(d, 88.0f));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent)));
}

// x/2 (1 + tanh(u)) = x / (1 + e^-2u) with u = sqrt(2/pi) (x + 0.044715 x^3).
HWY_INLINE FloatVec gelu_tanh(FloatVec x) {
  const Floats d;
  const FloatVec scale = hn::Set(d, 1.5957691216f), cubic = hn::Set(d, 0.0713548163f);
  return times_logistic(x, hn::Mul(x, hn::MulAdd(hn::Mul(x, x), cubic, scale)));
}

// x Phi(x). The tail Phi(-|x|) is e^(-x^2/2) times a polynomial in 1 / (1 + c |x|), fitted to a
// relative error of 2e-8 for |x| <= 14; beyond, the tail is nothing in fp32.
HWY_INLINE FloatVec gelu(FloatVec x) {
  const Floats d;
  constexpr float kCoefficients[] = {0.34944073f, -0.09394466f, 0.12487794f,
                                     0.06919154f, 0.08506886f,  0.08371158f};
  const FloatVec one = hn::Set(d, 1.0f);
  const FloatVec t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, 0.21f), one));
  FloatVec series = hn::MulAdd(hn::Set(d, -0.0716634f), t, hn::Set(d, 0.28361666f));
  series = hn::MulAdd(series, t, hn::Set(d, -0.33029925f));
  for (const float c : kCoefficients) series = hn::MulAdd(series, t, hn::Set(d, c));
  const FloatVec bell = hn::Exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));
  const FloatVec tail = hn::Mul(hn::Mul(series, t), bell);
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail)));
}

HWY_INLINE FloatVec activate(Activation activation, FloatVec x) {
  switch (activation) {
    case Activation::kRelu:
      return relu(x);
    case Activation::kGelu:
      return gelu(x);
    case Activation::kGeluTanh:
      return gelu_tanh(x);
    case Activation::kSilu:
      return times_logistic(x, x);
    case Activation::kNone:
      break;
  }
  return x;
}

// The biases of one panel, zeros where there are none.
struct Bias {
  Bias(const float* bias, int64_t count) {
    if (bias != nullptr) std::copy_n(bias, count, values);
  }
  alignas(64) float values[kPanelOutputs] = {};
};

// The sums of one row.
struct RowSums {
  const float* gate;
  const float* up;
  float scale;
};

HWY_INLINE void finish_row(const LinearArgs& args, const RowSums& row, const Bias& bias,
                           const Bias& up_bias, float* finished) {
  const Floats d;
  const FloatVec scale = hn::Set(d, row.scale);
  for (int64_t i = 0; i < kPanelOutputs; i += kLanes) {
    FloatVec y = hn::MulAdd(hn::Load(d, row.gate + i), scale, hn::Load(d, bias.values + i));
    if (args.epilogue == Epilogue::kActivate || row.up != nullptr) y = activate(args.activation, y);
    if (row.up != nullptr)
      y = hn::Mul(y, hn::MulAdd(hn::Load(d, row.up + i), scale, hn::Load(d, up_bias.values + i)));
    hn::Store(y, d, finished + i);
  }
}

void finish(const LinearArgs& args, const PanelSums& sums) {
  const int64_t cols = std::min(kPanelOutputs, args.target.cols - sums.col_begin);
  const bool gated = args.epilogue == Epilogue::kGated;
  const float* bias_begin =
      args.bias != nullptr ? args.bias + (gated ? 2 : 1) * sums.col_begin : nullptr;
  const Bias bias(bias_begin, gated ? kPanelOutputs : cols);
  const Bias up_bias(gated && bias_begin != nullptr ? bias_begin + kPanelOutputs : nullptr,
                     kPanelOutputs);
  const TensorView target = args.target.col_range(sums.col_begin, cols);
  alignas(64) float finished[kPanelOutputs];
  for (int64_t row = 0; row < sums.rows; ++row) {
    const RowSums row_sums = {.gate = sums.gate + row * kPanelOutputs,
                              .up = gated ? sums.up + row * kPanelOutputs : nullptr,
                              .scale = sums.row_scales != nullptr ? sums.row_scales[row] : 1.0f};
    finish_row(args, row_sums, bias, up_bias, finished);
    std::byte* target_row = target.row(sums.row_begin + row);
    if (args.epilogue == Epilogue::kAdd) {
      auto* sum = reinterpret_cast<float*>(target_row);
      for (int64_t i = 0; i < cols; ++i) sum[i] += finished[i];
    } else {
      with_type(target_row, target.dtype,
                [&](auto* to) HWY_ATTR { convert_row(finished, to, cols); });
    }
  }
}

constexpr FinishPanel kFinish = finish;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

FinishPanel finish_panel(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kFinish : N_AVX2::kFinish;
}

}  // namespace zerostream
#endif  // HWY_ONCE
