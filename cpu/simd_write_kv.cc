#include "cpu/simd_write_kv.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_write_kv.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

void copy_normalised(const float* source, const float* weight, float epsilon, int64_t count,
                     float* target) {
  if (weight == nullptr) return convert_row(source, target, count);
  const Floats d;
  const float squares = sum_row(source, count, [](FloatVec v) HWY_ATTR { return hn::Mul(v, v); });
  const FloatVec factor =
      hn::Set(d, 1.0f / std::sqrt(squares / static_cast<float>(count) + epsilon));
  map_row(source, target, count, [=](int64_t i, int64_t n, FloatVec v) HWY_ATTR {
    const FloatVec w = n == kLanes ? load(d, weight + i) : load_some(d, weight + i, n);
    return hn::Mul(hn::Mul(v, factor), w);
  });
}

HWY_INLINE void rotate(FloatVec& x, FloatVec& y, FloatVec cosine, FloatVec sine) {
  const FloatVec turned = hn::NegMulAdd(y, sine, hn::Mul(x, cosine));
  y = hn::MulAdd(x, sine, hn::Mul(y, cosine));
  x = turned;
}

void rotate_half(float* head, const float* cosines, const float* sines, int64_t pairs) {
  const Floats d;
  float* second = head + pairs;
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    FloatVec x = load(d, head + i), y = load(d, second + i);
    rotate(x, y, load(d, cosines + i), load(d, sines + i));
    store(d, x, head + i);
    store(d, y, second + i);
  }
  if (i == pairs) return;
  const int64_t rest = pairs - i;
  FloatVec x = load_some(d, head + i, rest), y = load_some(d, second + i, rest);
  rotate(x, y, load_some(d, cosines + i, rest), load_some(d, sines + i, rest));
  store_some(d, x, head + i, rest);
  store_some(d, y, second + i, rest);
}

void rotate_pairs(float* head, const float* cosines, const float* sines, int64_t pairs) {
  const Floats d;
  for (int64_t i = 0; i < pairs; i += kLanes) {
    const int64_t count = std::min(kLanes, pairs - i);
    HWY_ALIGN float lanes[2 * kLanes] = {};
    std::memcpy(lanes, head + 2 * i, static_cast<size_t>(2 * count) * sizeof(float));
    FloatVec x, y;
    hn::LoadInterleaved2(d, lanes, x, y);
    rotate(x, y, load_some(d, cosines + i, count), load_some(d, sines + i, count));
    hn::StoreInterleaved2(x, y, d, lanes);
    std::memcpy(head + 2 * i, lanes, static_cast<size_t>(2 * count) * sizeof(float));
  }
}

void turn(const WriteKvArgs& args, int64_t row, float* head) {
  if (args.rope == RopeKind::kNone || args.rope_cols == 0) return;
  const float* cosines = args.rope_cos + row * args.rope_cols;
  const float* sines = args.rope_sin + row * args.rope_cols;
  if (args.rope == RopeKind::kHalf)
    rotate_half(head, cosines, sines, args.rope_cols);
  else
    rotate_pairs(head, cosines, sines, args.rope_cols);
}

// The largest magnitude; NaN if some number is not finite.
float largest_magnitude(const float* head, int64_t dim) {
  const Floats d;
  FloatVec largest = hn::Zero(d);
  auto broken = hn::IsNaN(largest);
  const auto step = [&](FloatVec v) HWY_ATTR {
    broken = hn::Or(broken, hn::Not(hn::IsFinite(v)));
    largest = hn::Max(largest, hn::Abs(v));
  };
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) step(load(d, head + i));
  if (i < dim) step(load_some(d, head + i, dim - i));
  if (!hn::AllFalse(d, broken)) return std::numeric_limits<float>::quiet_NaN();
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// Returns the scale. What is not finite becomes zeros of scale NaN.
float quantise(const float* head, int64_t dim, int8_t* cells) {
  const Floats d;
  const float scale = largest_magnitude(head, dim) / 127;
  if (!(scale > 0)) {
    std::memset(cells, 0, static_cast<size_t>(dim));
    return scale;
  }
  map_row(head, cells, dim, [=](int64_t, int64_t, FloatVec v) HWY_ATTR {
    return hn::Clamp(hn::Div(v, hn::Set(d, scale)), hn::Set(d, -127.0f), hn::Set(d, 127.0f));
  });
  return scale;
}

void write_head(const float* head, std::byte* target, float* scales, const KvLayerView& kv,
                int64_t slot) {
  std::byte* cells = target + dtype_bytes(kv.dtype, slot * kv.head_dim);
  if (kv.dtype == DType::kI8)
    scales[slot] = quantise(head, kv.head_dim, reinterpret_cast<int8_t*>(cells));
  else
    with_type(cells, kv.dtype,
              [&](auto* numbers) HWY_ATTR { convert_row(head, numbers, kv.head_dim); });
}

void write_kv(const WriteKvArgs& args, const SequenceSpan& sequence, int64_t begin, int64_t end,
              float* head) {
  const KvLayerView& kv = args.kv;
  const int64_t dim = kv.head_dim;
  const int64_t heads = args.query.cols / dim;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = sequence.row_begin + i;
    const int64_t position = sequence.position_begin + i;
    const int64_t block = sequence.block_table[position / kv.block_tokens];
    const int64_t slot = position % kv.block_tokens;
    const float* fused = args.qkv.row_as<float>(row);
    float* query = args.query.row_as<float>(row);
    for (int64_t h = 0; h < heads; ++h) {
      copy_normalised(fused + h * dim, args.query_norm, args.norm_epsilon, dim, query + h * dim);
      turn(args, row, query + h * dim);
    }
    const float* keys = fused + heads * dim;
    const float* values = keys + kv.num_key_value_heads * dim;
    for (int64_t h = 0; h < kv.num_key_value_heads; ++h) {
      copy_normalised(keys + h * dim, args.key_norm, args.norm_epsilon, dim, head);
      turn(args, row, head);
      write_head(head, kv.key(block, h), kv.key_scales(block, h), kv, slot);
      write_head(values + h * dim, kv.value(block, h), kv.value_scales(block, h), kv, slot);
    }
  }
}

constexpr WriteKvOp kWriteKv = write_kv;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

WriteKvOp write_kv_op(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kWriteKv : N_AVX2::kWriteKv;
}

}  // namespace zerostream
#endif  // HWY_ONCE
