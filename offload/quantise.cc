#include "offload/quantise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

namespace zerostream {
namespace {

constexpr float kLargestScale = 65504.0f;
constexpr float kLeastScale = 0x1p-24f;
// Adding and subtracting it rounds a small number to the nearest integer, ties to even.
constexpr float kRounder = 0x1.8p23f;
// Steps that the largest magnitude of a group of int4 may take.
constexpr std::array<float, 3> kSteps = {7.5f, 8.25f, 9.0f};

// Sums and extremes go over 4 numbers side by side, in one order: vector code on any machine, and
// everywhere the same result.
constexpr int kLanes = 4;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

template <typename Combine>
float reduce(Lanes lanes, Combine combine) {
  return combine(combine(lanes[0], lanes[1]), combine(lanes[2], lanes[3]));
}

inline Lanes load(const float* numbers) {
  Lanes lanes;
  std::memcpy(&lanes, numbers, sizeof(lanes));
  return lanes;
}

template <typename T>
inline T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
inline T larger(T a, T b) {
  return b > a ? b : a;
}
template <typename T>
inline T nearest_integer(T value) {
  return (value + kRounder) - kRounder;
}
template <typename T>
inline T clamp_to(T value, T low, T high) {
  return smaller(larger(value, low), high);
}

// 0 counts as one of the numbers.
struct Range {
  float low = 0, high = 0;
  float largest() const { return larger(high, -low); }
};

Range range_of(const float* numbers, int32_t count) {
  Lanes low = {}, high = {};
  for (int32_t i = 0; i < count; i += kLanes) {
    low = smaller(low, load(numbers + i));
    high = larger(high, load(numbers + i));
  }
  return {reduce(low, smaller<float>), reduce(high, larger<float>)};
}

bool all_finite(const float* numbers, int32_t count) {
  uint32_t not_finite = 0;
  for (int32_t i = 0; i < count; ++i) {
    const uint32_t exponent = std::bit_cast<uint32_t>(numbers[i]) & 0x7f800000u;
    not_finite |= static_cast<uint32_t>(exponent == 0x7f800000u);
  }
  return not_finite == 0;
}

// The least fp16 number that is not below: with it the extremes need no clamping.
uint16_t scale_not_below(float scale) {
  const uint16_t nearest = float_to_fp16(scale);
  return fp16_to_float(nearest) < scale ? static_cast<uint16_t>(nearest + 1) : nearest;
}

uint16_t nearest_scale(float scale) {
  return float_to_fp16(std::fabs(scale) < kLeastScale ? std::copysign(kLeastScale, scale) : scale);
}

// How well codes -8..7 fit when the extreme number takes some steps.
struct Fit {
  float scale = 0;  // the best for these codes
  float gain = -1;  // by which it lessens the squared error
};

Fit fit_int4(const float* numbers, int32_t count, float inverse_scale) {
  Lanes products = {}, squares = {};
  for (int32_t i = 0; i < count; i += kLanes) {
    const Lanes lanes = load(numbers + i);
    const Lanes codes = clamp_to(nearest_integer(lanes * inverse_scale), Lanes{} - 8, Lanes{} + 7);
    products += lanes * codes;
    squares += codes * codes;
  }
  const float product = reduce(products, std::plus<float>());
  const float scale = product / reduce(squares, std::plus<float>());
  return {scale, scale * product};
}

float search_int4_scale(const float* numbers, int32_t count, float extreme) {
  Fit best;
  for (const float steps : kSteps) {
    const Fit fit = fit_int4(numbers, count, -steps / extreme);
    if (fit.gain > best.gain) best = fit;
  }
  return best.scale;
}

void write_codes(const float* numbers, int32_t count, float scale, float zero, float largest_code,
                 uint8_t* codes) {
  const float inverse = 1.0f / scale;
  for (int32_t i = 0; i < count; ++i) {
    const float code = nearest_integer(numbers[i] * inverse) + zero;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(clamp_to(code, 0.0f, largest_code)));
  }
}

// Scale and zero of a group that holds more than zeros.
GroupScale choose_scale(const float* numbers, const Quantisation& quantisation, Range range) {
  const bool int8 = quantisation.dtype == DType::kI8;
  if (quantisation.has_zeros) {
    const uint16_t scale = scale_not_below((range.high - range.low) / (int8 ? 255.0f : 15.0f));
    const float zero = nearest_integer(-range.low / fp16_to_float(scale));
    return {scale, static_cast<uint8_t>(zero)};
  }
  const uint8_t zero = quantised_zero(quantisation.dtype);
  if (int8) return {scale_not_below(range.largest() / 127.0f), zero};
  const float extreme = range.high >= -range.low ? range.high : range.low;
  return {nearest_scale(search_int4_scale(numbers, quantisation.group_size, extreme)), zero};
}

}  // namespace

bool quantise_group(const float* numbers, const Quantisation& quantisation, uint8_t* codes,
                    GroupScale& group) {
  const int32_t count = quantisation.group_size;
  if (!all_finite(numbers, count)) return false;
  const Range range = range_of(numbers, count);
  const bool int8 = quantisation.dtype == DType::kI8;
  // Where fp16 is sure to overflow nothing more is computed: squares might overflow, too.
  if (range.largest() / (int8 ? 256.0f : 16.0f) > kLargestScale) return false;
  // Numbers that no scale of fp16 can tell from 0 are zeros.
  if (range.largest() <= kLeastScale / 2) {
    group = {0, quantisation.has_zeros ? uint8_t{0} : quantised_zero(quantisation.dtype)};
    std::fill_n(codes, count, group.zero);
    return true;
  }
  group = choose_scale(numbers, quantisation, range);
  const float scale = fp16_to_float(group.scale);
  if (!std::isfinite(scale)) return false;
  write_codes(numbers, count, scale, group.zero, int8 ? 255.0f : 15.0f, codes);
  return true;
}

}  // namespace zerostream
