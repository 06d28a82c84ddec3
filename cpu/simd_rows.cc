#include "cpu/simd_rows.h"

#include <cmath>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
void embed_row(const T* source, float* target, int64_t cols, bool accumulate) {
  if (!accumulate) return convert_row(source, target, cols);
  const Floats d;
  map_row(source, target, cols, [=](int64_t i, int64_t count, FloatVec v) HWY_ATTR {
    return hn::Add(count == kLanes ? load(d, target + i) : load_some(d, target + i, count), v);
  });
}

void embed(const EmbedArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    with_type(args.table + args.byte_offsets[row], args.dtype, [&](const auto* source) HWY_ATTR {
      embed_row(source, args.target.row_as<float>(row), args.target.cols, args.accumulate);
    });
}

HWY_INLINE FloatVec load_weight(const float* weight, int64_t i, int64_t count, float otherwise) {
  const Floats d;
  if (weight == nullptr) return hn::Set(d, otherwise);
  return count == kLanes ? load(d, weight + i) : load_some(d, weight + i, count);
}

template <typename T>
void norm_row(const NormArgs& args, const float* source, T* target) {
  const Floats d;
  const int64_t cols = args.source.cols;
  FloatVec mean = hn::Zero(d);
  if (args.kind == NormKind::kLayerNorm) {
    const float sum = sum_row(source, cols, [](FloatVec v) HWY_ATTR { return v; });
    mean = hn::Set(d, sum / static_cast<float>(cols));
  }
  const float squares = sum_row(source, cols, [=](FloatVec v) HWY_ATTR {
    const FloatVec centred = hn::Sub(v, mean);
    return hn::Mul(centred, centred);
  });
  const FloatVec factor =
      hn::Set(d, 1.0f / std::sqrt(squares / static_cast<float>(cols) + args.epsilon));
  map_row(source, target, cols, [=, &args](int64_t i, int64_t count, FloatVec v) HWY_ATTR {
    const FloatVec scaled = hn::Mul(hn::Sub(v, mean), factor);
    return hn::MulAdd(scaled, load_weight(args.weight, i, count, 1.0f),
                      load_weight(args.bias, i, count, 0.0f));
  });
}

void norm(const NormArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto* source =
        args.source.row_as<float>(args.row_indices != nullptr ? args.row_indices[row] : row);
    with_type(args.target.row(row), args.target.dtype,
              [&](auto* target) HWY_ATTR { norm_row(args, source, target); });
  }
}

void convert(const ConvertArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const std::byte* from =
        args.source.row(args.row_indices != nullptr ? args.row_indices[row] : row);
    with_type(from, args.source.dtype, [&](const auto* source) HWY_ATTR {
      with_type(args.target.row(row), args.target.dtype,
                [&](auto* target) HWY_ATTR { convert_row(source, target, args.source.cols); });
    });
  }
}

constexpr RowOps kRowOps = {embed, norm, convert};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

const RowOps& row_ops(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kRowOps : N_AVX2::kRowOps;
}

}  // namespace zerostream
#endif  // HWY_ONCE
