#include "offload/quantise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace zerostream {
namespace {

std::vector<Quantisation> all_kinds() {
  std::vector<Quantisation> kinds;
  for (const DType dtype : {DType::kI8, DType::kI4})
    for (const int32_t group_size : {32, 64, 128})
      for (const bool has_zeros : {false, true}) kinds.push_back({dtype, group_size, has_zeros});
  return kinds;
}

std::string name_of(const Quantisation& kind) {
  return std::string(dtype_name(kind.dtype)) + " group " + std::to_string(kind.group_size) +
         (kind.has_zeros ? " with zeros" : "");
}

struct Result {
  bool fits = false;
  GroupScale group;
  std::vector<uint8_t> codes;

  float number(size_t i) const {
    return fp16_to_float(group.scale) * static_cast<float>(codes[i] - group.zero);
  }
};

Result quantise(const std::vector<float>& numbers, const Quantisation& kind) {
  Result result;
  result.codes.assign(numbers.size(), 0xee);
  result.fits = quantise_group(numbers.data(), kind, result.codes.data(), result.group);
  return result;
}

double squared_error(const std::vector<float>& numbers, const Result& result) {
  double sum = 0;
  for (size_t i = 0; i < numbers.size(); ++i) sum += std::pow(numbers[i] - result.number(i), 2);
  return sum;
}

std::vector<float> normal_numbers(int32_t count, uint32_t seed, float mean = 0, float width = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, width);
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& number : numbers) number = normal(random);
  return numbers;
}

// Codes are the nearest there are; where none is clamped the error is at most half a step.
void expect_nearest(const std::vector<float>& numbers, const Quantisation& kind,
                    const Result& result) {
  const int largest = kind.dtype == DType::kI8 ? 255 : 15;
  const double scale = fp16_to_float(result.group.scale);
  ASSERT_NE(scale, 0);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double steps = numbers[i] / scale + result.group.zero;
    ASSERT_LE(result.codes[i], largest);
    ASSERT_LE(std::fabs(result.codes[i] - std::clamp(steps, 0.0, double(largest))), 0.5 + 1e-4)
        << name_of(kind) << " number " << numbers[i];
    if (kind.dtype == DType::kI8 || kind.has_zeros) {
      ASSERT_LE(std::fabs(result.codes[i] - steps), 0.5 + 1e-4) << name_of(kind);
    }
  }
}

TEST(QuantiseTest, EveryCodeIsTheNearest) {
  for (const Quantisation& kind : all_kinds()) {
    for (uint32_t seed = 0; seed < 200; ++seed) {
      const float width = std::exp2(static_cast<float>(seed % 30) - 18);
      const auto numbers =
          normal_numbers(kind.group_size, seed, static_cast<float>(seed % 3) * width, width);
      const Result result = quantise(numbers, kind);
      ASSERT_TRUE(result.fits);
      if (!kind.has_zeros) {
        EXPECT_EQ(result.group.zero, kind.dtype == DType::kI8 ? 128 : 8);
      }
      expect_nearest(numbers, kind, result);
    }
  }
}

TEST(QuantiseTest, Int4IsBetterThanRoundingToTheLargestMagnitude) {
  for (const int32_t group_size : {32, 64, 128}) {
    double found = 0, plain = 0;
    for (uint32_t seed = 0; seed < 300; ++seed) {
      const auto numbers = normal_numbers(group_size, seed);
      found += squared_error(numbers, quantise(numbers, {DType::kI4, group_size, false}));
      float largest = 0;
      for (const float number : numbers) largest = std::max(largest, std::fabs(number));
      for (const float number : numbers) {
        const float step = largest / 7;
        plain += std::pow(number - step * std::nearbyint(number / step), 2);
      }
    }
    EXPECT_LT(found, 0.75 * plain) << group_size;
  }
}

TEST(QuantiseTest, BothSignsUseTheFullRangeOfInt4) {
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> numbers = normal_numbers(32, 5, 0, 0.1f);
    numbers[7] = sign;
    EXPECT_EQ(quantise(numbers, {DType::kI4, 32, false}).codes[7], 0) << sign;
  }
}

TEST(QuantiseTest, ZerosStayZerosInEveryKind) {
  for (const Quantisation& kind : all_kinds()) {
    std::vector<float> numbers(static_cast<size_t>(kind.group_size), 0.0f);
    for (const float rest : {0.0f, -0.0f, 3.0f, -3.0f}) {
      numbers[1] = rest;
      const Result result = quantise(numbers, kind);
      ASSERT_TRUE(result.fits);
      EXPECT_EQ(result.codes[0], result.group.zero) << name_of(kind) << " beside " << rest;
      EXPECT_NEAR(result.number(1), rest, 0.02 + std::fabs(rest) * 0.15);
    }
  }
}

TEST(QuantiseTest, NumbersBelowTheLeastScaleKeepWhatFp16CanSay) {
  for (const Quantisation& kind : all_kinds()) {
    for (const float magnitude : {1e-45f, 1e-38f, 1e-9f, 3e-8f, 1e-7f, 1e-6f, 5e-6f}) {
      auto numbers = normal_numbers(kind.group_size, 3, 0, 0.3f);
      for (float& number : numbers) number = std::clamp(number, -1.0f, 1.0f) * magnitude;
      numbers[0] = magnitude;
      const Result result = quantise(numbers, kind);
      ASSERT_TRUE(result.fits);
      const double step = std::max(std::fabs(fp16_to_float(result.group.scale)), 0x1p-24f);
      for (size_t i = 0; i < numbers.size(); ++i) {
        ASSERT_LE(std::fabs(result.number(i) - numbers[i]), step * 1.51)
            << name_of(kind) << " magnitude " << magnitude;
      }
    }
  }
}

TEST(QuantiseTest, WhatDoesNotFitIsTold) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Quantisation& kind : all_kinds()) {
    auto numbers = normal_numbers(kind.group_size, 1);
    const size_t last = numbers.size() - 1;
    for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 1e9f,
                            -1e9f, std::numeric_limits<float>::max()}) {
      numbers[last] = bad;
      EXPECT_FALSE(quantise(numbers, kind).fits) << name_of(kind) << " with " << bad;
    }
    numbers[last] = 400000.0f;  // a scale of int4 near fp16's largest
    EXPECT_TRUE(quantise(numbers, kind).fits) << name_of(kind);
  }
}

}  // namespace
}  // namespace zerostream
