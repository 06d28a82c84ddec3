#include "offload/tile_pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "offload/quantise.h"
#include "tests/offload/random_checkpoint.h"

namespace zerostream {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// Every exponent, the borders of every rounding, both signs, infinities and NaN.
std::vector<float> hard_floats() {
  std::vector<float> values;
  for (uint32_t top = 0; top < 0x10000; ++top) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u,
                               0x8001u, 0xefffu, 0xf000u, 0xffffu}) {
      values.push_back(std::bit_cast<float>(top << 16 | low));
    }
  }
  return values;
}

TEST(ConvertFloatsTest, RoundsAsTheScalarConversion) {
  const std::vector<float> values = hard_floats();
  for (const DType dtype : kDTypes) {
    std::vector<std::byte> packed(values.size() * 4);
    convert_floats(values.data(), static_cast<int64_t>(values.size()), dtype, packed.data());
    for (size_t i = 0; i < values.size(); ++i) {
      float expected = 0;
      store_float(&expected, dtype, 0, values[i]);
      const float want = load_float(&expected, dtype, 0);
      const float got = load_float(packed.data(), dtype, static_cast<int64_t>(i));
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got)) << values[i];
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(want), std::bit_cast<uint32_t>(got))
            << dtype_name(dtype) << " of " << values[i];
      }
    }
  }
}

TEST(ConvertFloatsTest, TellsWhenANumberDoesNotFit) {
  std::vector<std::byte> packed(64);
  const auto fits = [&](float value, DType dtype) {
    const std::vector<float> values = {1, value, 2};
    return convert_floats(values.data(), 3, dtype, packed.data());
  };
  EXPECT_TRUE(fits(65519.0f, DType::kF16));
  EXPECT_FALSE(fits(65520.0f, DType::kF16));
  EXPECT_FALSE(fits(-1e30f, DType::kF16));
  EXPECT_TRUE(fits(-1e30f, DType::kBF16));
  EXPECT_FALSE(fits(std::numeric_limits<float>::max(), DType::kBF16));
  EXPECT_TRUE(fits(std::numeric_limits<float>::max(), DType::kF32));
  for (const DType dtype : kDTypes) {
    EXPECT_TRUE(fits(std::numeric_limits<float>::infinity(), dtype));
    EXPECT_TRUE(fits(std::numeric_limits<float>::quiet_NaN(), dtype));
  }
}

// The place of an element by the words of docs/store-format.md.
int64_t place_in_panel(int64_t output, int64_t input, DType dtype) {
  const int64_t group = 4 * 8 / dtype_bits(dtype);  // inputs
  const int64_t per_tile = 16 * group;
  return input / per_tile * (per_tile * 64) + input % per_tile / group * (64 * group) +
         output * group + input % group;
}

// Every code of the panel, by the words of docs/store-format.md, is that of its group.
void expect_quantised_panel(const std::vector<float>& source, const StoredMatrix& run,
                            const std::byte* packed) {
  const Quantisation kind = {run.dtype, run.group_size, run.has_zeros};
  const int64_t padded = round_up(run.inputs, tile_inputs(run.dtype));
  std::vector<float> line(static_cast<size_t>(round_up(padded, run.group_size)));
  std::vector<uint8_t> codes(line.size());
  for (int64_t row = 0; row < kPanelOutputs; ++row) {
    std::fill(line.begin(), line.end(), 0.0f);
    if (row < run.outputs) std::copy_n(&source[row * run.inputs], run.inputs, line.begin());
    for (int64_t input = 0; input < padded; ++input) {
      GroupScale group;
      const int64_t begin = input / run.group_size * run.group_size;
      if (input == begin) {
        ASSERT_TRUE(quantise_group(&line[begin], kind, &codes[begin], group));
      }
      const StoredCode stored = stored_code(run, packed, row, input);
      ASSERT_EQ(stored.code, codes[input]) << "row " << row << " input " << input;
      if (input == begin && row < run.outputs && input < run.inputs) {
        ASSERT_EQ(stored.scale, fp16_to_float(group.scale));
        ASSERT_EQ(stored.zero, group.zero);
      }
      if (row >= run.outputs || input >= run.inputs) {
        ASSERT_EQ(stored.value(), 0);
        ASSERT_EQ(stored.code, stored.zero);
      }
    }
  }
}

TEST(PackPanelTest, PutsEveryElementInItsPlaceAndZerosElsewhere) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const DType dtype : kDTypes) {
    for (const int64_t inputs : {1, 15, 16, 31, 32, 33, 100, 256}) {
      for (const int64_t rows : {1, 63, 64}) {
        std::vector<float> source(static_cast<size_t>(rows * inputs));
        for (float& value : source) value = normal(random);
        const PackedWeight weight{nullptr, dtype, WeightLayout::kTile64, rows, inputs};
        const int64_t elements = weight.bytes() * 8 / dtype_bits(dtype);
        std::vector<float> expected(static_cast<size_t>(elements), 0.0f);
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t input = 0; input < inputs; ++input) {
            float rounded = 0;
            store_float(&rounded, dtype, 0, source[static_cast<size_t>(row * inputs + input)]);
            expected[static_cast<size_t>(place_in_panel(row, input, dtype))] =
                load_float(&rounded, dtype, 0);
          }
        }
        std::vector<std::byte> scratch(static_cast<size_t>(panel_scratch_bytes(weight)),
                                       std::byte{0x55});
        std::vector<std::byte> packed(static_cast<size_t>(weight.bytes()), std::byte{0x55});
        ASSERT_TRUE(pack_panel(source.data(), rows, weight, scratch.data(), packed.data()));
        for (int64_t i = 0; i < elements; ++i) {
          ASSERT_EQ(load_float(packed.data(), dtype, i), expected[static_cast<size_t>(i)])
              << dtype_name(dtype) << " rows " << rows << " inputs " << inputs << " element " << i;
        }
      }
    }
  }
}

TEST(PackPanelTest, QuantisedRowsAreWhatTheirGroupsBecomeAndPaddingIsZero) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    for (const int32_t group_size : {32, 64, 128}) {
      for (const bool has_zeros : {false, true}) {
        for (const int64_t inputs : {1, 31, 33, 64, 72, 128, 150, 320}) {
          for (const int64_t rows : {1, 63, 64}) {
            std::vector<float> source(static_cast<size_t>(rows * inputs));
            for (float& value : source) value = normal(random) + 0.5f;
            StoredMatrix run;
            run.dtype = dtype;
            run.inputs = inputs;
            run.outputs = rows;
            run.group_size = group_size;
            run.has_zeros = has_zeros;
            const PackedWeight weight = run.weight(nullptr);
            std::vector<std::byte> scratch(static_cast<size_t>(panel_scratch_bytes(weight)),
                                           std::byte{0x55});
            std::vector<std::byte> packed(static_cast<size_t>(weight.bytes()), std::byte{0x55});
            ASSERT_TRUE(pack_panel(source.data(), rows, weight, scratch.data(), packed.data()));
            expect_quantised_panel(source, run, packed.data());
          }
        }
      }
    }
  }
}

TEST(PackPanelTest, TheRestOfAGroupTableIsZero) {
  const std::vector<float> source(64 * 40, 1.0f);
  for (const bool has_zeros : {false, true}) {
    const PackedWeight weight = {nullptr, DType::kI8, WeightLayout::kTile64, 64, 40, 32, has_zeros};
    ASSERT_EQ(weight.bytes(), 2 * kTileBytes);
    std::vector<std::byte> scratch(static_cast<size_t>(panel_scratch_bytes(weight)));
    std::vector<std::byte> packed(static_cast<size_t>(weight.bytes()), std::byte{0x55});
    ASSERT_TRUE(pack_panel(source.data(), 64, weight, scratch.data(), packed.data()));
    for (int64_t i = kTileBytes + 2 * weight.group_bytes(); i < weight.bytes(); ++i)
      ASSERT_EQ(packed[static_cast<size_t>(i)], std::byte{0}) << i;
  }
}

TEST(PackPanelTest, TellsWhenAGroupDoesNotFit) {
  std::vector<float> source(64 * 100, 1.0f);
  const PackedWeight weight = {nullptr, DType::kI4, WeightLayout::kTile64, 64, 100, 64, false};
  std::vector<std::byte> scratch(static_cast<size_t>(panel_scratch_bytes(weight)));
  std::vector<std::byte> packed(static_cast<size_t>(weight.bytes()));
  EXPECT_TRUE(pack_panel(source.data(), 64, weight, scratch.data(), packed.data()));
  source[5000] = 1e20f;
  EXPECT_FALSE(pack_panel(source.data(), 64, weight, scratch.data(), packed.data()));
}

}  // namespace
}  // namespace zerostream
