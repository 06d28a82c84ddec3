#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace zerostream {
namespace {

TEST(DType, NamesRoundTrip) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kI4, DType::kU8,
                      DType::kI32, DType::kI64})
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  EXPECT_EQ(dtype_from_name("float"), std::nullopt);
}

// Every fp16 value survives the way through float, and halfway values go to the even neighbour.
TEST(DType, Fp16RoundTripsAndRoundsToEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = fp16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    EXPECT_EQ(float_to_fp16(value), bits) << value;
  }
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const float halfway =
        (fp16_to_float(bits) + fp16_to_float(static_cast<uint16_t>(bits + 1))) / 2;
    EXPECT_EQ(float_to_fp16(halfway), (bits & 1) ? bits + 1 : bits);
  }
  EXPECT_EQ(float_to_fp16(1e6f), 0x7c00);
  EXPECT_TRUE(std::isnan(fp16_to_float(float_to_fp16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(DType, Bf16RoundsToEven) {
  EXPECT_EQ(float_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(float_to_bf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(float_to_bf16(1.0f + 0x3p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace zerostream
