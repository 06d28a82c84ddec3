// Kernels of single rows against the reference.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/gpu/gpu_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kWidths[] = {1, 2, 7, 31, 64, 255, 257, 1023};

TEST_F(GpuKernelsTest, Embed) {
  std::mt19937 random(1);
  for (const DType dtype : kFloatTypes)
    for (const int64_t cols : kWidths)
      for (const bool accumulate : {false, true}) {
        Matrix table(dtype, 11, cols);
        table.randomise(random);
        std::vector<int64_t> offsets;
        for (int i = 0; i < 30; ++i)
          offsets.push_back(dtype_bytes(dtype, static_cast<int64_t>(random() % 11) * cols));
        Matrix actual(DType::kF32, 30, cols, cols + 3), expected(DType::kF32, 30, cols);
        actual.randomise(random);
        expected.fill(actual.values());
        const TensorView target = on_device(actual);
        kernels_.embed({on_device(table).data, dtype, on_device(offsets), accumulate, target},
                       *stream_);
        reference_.embed({table.view().data, dtype, offsets.data(), accumulate, expected.view()},
                         *reference_stream_);
        finish();
        read(target, actual);
        ASSERT_EQ(actual.values(), expected.values()) << dtype_name(dtype) << ' ' << cols;
        clear();
      }
}

TEST_F(GpuKernelsTest, ConvertMatchesScalarConversionToTheBit) {
  for (const DType from : kFloatTypes)
    for (const DType to : kFloatTypes) {
      const int64_t cols = 65536 + 5;
      Matrix source(from, 2, cols), actual(to, 2, cols), expected(to, 2, cols);
      std::mt19937 random(2);
      for (int64_t i = 0; i < 2 * cols; ++i) {  // every 16-bit pattern, as many random floats
        if (from == DType::kF32)
          source.view().row_as<uint32_t>(0)[i] = static_cast<uint32_t>(random());
        else
          source.view().row_as<uint16_t>(0)[i] = static_cast<uint16_t>(i);
      }
      const TensorView target = on_device(actual);
      kernels_.convert({on_device(source), target}, *stream_);
      reference_.convert({source.view(), expected.view()}, *reference_stream_);
      finish();
      read(target, actual);
      for (int64_t i = 0; i < 2 * cols; ++i) {
        const float truth = expected.at(0, i), got = actual.at(0, i);
        ASSERT_TRUE(std::isnan(truth)
                        ? std::isnan(got)
                        : std::bit_cast<uint32_t>(truth) == std::bit_cast<uint32_t>(got))
            << dtype_name(from) << " to " << dtype_name(to) << ": " << truth << " is not " << got;
      }
      clear();
    }
}

TEST_F(GpuKernelsTest, ConvertGathersRows) {
  Matrix source(DType::kF16, 4, 3), actual(DType::kF32, 2, 3);
  std::mt19937 random(3);
  source.randomise(random);
  const TensorView target = on_device(actual);
  kernels_.convert({on_device(source), target, on_device(std::vector<int32_t>{3, 1})}, *stream_);
  finish();
  read(target, actual);
  for (int64_t col = 0; col < 3; ++col) {
    EXPECT_EQ(actual.at(0, col), source.at(3, col));
    EXPECT_EQ(actual.at(1, col), source.at(1, col));
  }
}

TEST_F(GpuKernelsTest, Norm) {
  std::mt19937 random(3);
  for (const DType dtype : kFloatTypes)
    for (const int64_t cols : kWidths)
      for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
        if (kind == NormKind::kLayerNorm && cols <= 2) continue;  // only rounding
        Matrix source(DType::kF32, 20, cols), weight(DType::kF32, 1, cols),
            bias(DType::kF32, 1, cols);
        source.randomise(random, 3.0f);
        weight.randomise(random);
        bias.randomise(random);
        std::vector<int32_t> indices;
        for (int i = 0; i < 13; ++i) indices.push_back(static_cast<int32_t>(random() % 20));
        Matrix actual(dtype, 13, cols), expected(dtype, 13, cols);
        const bool biased = kind == NormKind::kLayerNorm;
        const TensorView target = on_device(actual);
        kernels_.norm({.kind = kind,
                       .source = on_device(source),
                       .weight = floats_on_device(weight),
                       .bias = biased ? floats_on_device(bias) : nullptr,
                       .row_indices = on_device(indices),
                       .target = target},
                      *stream_);
        reference_.norm({.kind = kind,
                         .source = source.view(),
                         .weight = weight.floats(),
                         .bias = biased ? bias.floats() : nullptr,
                         .row_indices = indices.data(),
                         .target = expected.view()},
                        *reference_stream_);
        finish();
        read(target, actual);
        ASSERT_LT(nmse(actual, expected), nmse_limit(dtype)) << dtype_name(dtype) << ' ' << cols;
        clear();
      }
}

TEST_F(GpuKernelsTest, NormInPlaceWithoutWeight) {
  std::mt19937 random(4);
  Matrix source(DType::kF32, 9, 300), expected(DType::kF32, 9, 300), actual(DType::kF32, 9, 300);
  source.randomise(random);
  const TensorView view = on_device(source);
  kernels_.norm({.source = view, .target = view}, *stream_);
  reference_.norm({.source = source.view(), .target = expected.view()}, *reference_stream_);
  finish();
  read(view, actual);
  EXPECT_LT(nmse(actual, expected), nmse_limit(DType::kF32));
}

class GpuSoftmaxTest : public GpuKernelsTest {
 protected:
  // Columns in parts that end at `ends`, by either kernels.
  std::vector<SoftmaxState> accumulate(bool reference, const Matrix& logits,
                                       const std::vector<int32_t>& targets,
                                       const std::vector<int64_t>& ends) {
    std::vector<SoftmaxState> states(targets.size());
    TensorView view = reference ? logits.view() : on_device(logits);
    const int32_t* target = reference ? targets.data() : on_device(targets);
    SoftmaxState* state = reference ? states.data() : on_device(states);
    int64_t begin = 0;
    for (const int64_t end : ends) {
      const AccumulateSoftmaxArgs args = {view.col_range(begin, end - begin),
                                          static_cast<int32_t>(begin), target, state};
      if (reference)
        reference_.accumulate_softmax(args, *reference_stream_);
      else
        kernels_.accumulate_softmax(args, *stream_);
      begin = end;
    }
    finish();
    if (reference) return states;
    EXPECT_EQ(cudaMemcpy(states.data(), state, states.size() * sizeof(SoftmaxState),
                         cudaMemcpyDeviceToHost),
              cudaSuccess);
    return states;
  }
};

TEST_F(GpuSoftmaxTest, AccumulatesParts) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(5);
  Matrix logits(DType::kF32, 7, 1500, 1507);
  logits.randomise(random, 4.0f);
  logits.set(1, 900, 60);  // all before it vanish
  logits.set(1, 1200, 60);
  logits.set(2, 700, kInfinity);
  logits.set(3, 3, std::nanf(""));
  for (int64_t col = 0; col < 1500; ++col) logits.set(4, col, -kInfinity);
  for (int64_t col = 0; col < 300; ++col) logits.set(5, col, -kInfinity);
  const std::vector<int32_t> targets = {0, 1200, 5, 5, 5, 1499, -1};
  for (const std::vector<int64_t>& ends :
       {std::vector<int64_t>{1500}, {1, 2, 300, 1500}, {256, 1024, 1500}}) {
    const auto actual = accumulate(false, logits, targets, ends);
    const auto expected = accumulate(true, logits, targets, ends);
    for (size_t i = 0; i < targets.size(); ++i) {
      EXPECT_EQ(actual[i].finite, expected[i].finite) << i;
      if (!expected[i].finite) continue;
      EXPECT_EQ(actual[i].best, expected[i].best) << i;
      EXPECT_EQ(actual[i].largest, expected[i].largest) << i;
      EXPECT_EQ(actual[i].target_logit, expected[i].target_logit) << i;
      EXPECT_NEAR(actual[i].sum, expected[i].sum, 1e-5f * expected[i].sum) << i;
    }
  }
}

TEST_F(GpuKernelsTest, WrongArgumentsThrowAtTheCall) {
  const Matrix source(DType::kF32, 2, 3), narrow(DType::kF32, 2, 2);
  EXPECT_THROW(kernels_.norm({.source = source.view(), .target = narrow.view()}, *stream_),
               InternalError);
  EXPECT_THROW(
      kernels_.norm({.source = source.view(), .target = source.view()}, *reference_stream_),
      InternalError);
}

}  // namespace
}  // namespace zerostream
