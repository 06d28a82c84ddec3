// Sampling on the GPU against the reference.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/gpu/gpu_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class GpuSampleTest : public GpuKernelsTest {
 protected:
  std::vector<SampleResult> sample(const Matrix& logits, std::vector<SampleRow> rows) {
    for (SampleRow& row : rows) {
      row.tokens = on_device(std::vector<int32_t>(row.tokens, row.tokens + row.num_tokens));
      row.banned = on_device(std::vector<int32_t>(row.banned, row.banned + row.num_banned));
    }
    std::vector<SampleResult> results(rows.size());
    SampleResult* target = on_device(results);
    kernels_.sample({on_device(logits), on_device(rows), target}, *stream_);
    finish();
    EXPECT_EQ(cudaMemcpy(results.data(), target, results.size() * sizeof(SampleResult),
                         cudaMemcpyDeviceToHost),
              cudaSuccess);
    clear();
    return results;
  }
  std::vector<SampleResult> expected(const Matrix& logits, const std::vector<SampleRow>& rows) {
    std::vector<SampleResult> results(rows.size());
    reference_.sample({logits.view(), rows.data(), results.data()}, *reference_stream_);
    finish();
    return results;
  }
  SampleResult sample_one(const std::vector<float>& logits, const SampleRow& row) {
    Matrix matrix(DType::kF32, 1, static_cast<int64_t>(logits.size()));
    matrix.fill(logits);
    return sample(matrix, {row})[0];
  }
};

TEST_F(GpuSampleTest, GreedyTakesTheLowestIdOfATie) {
  EXPECT_EQ(sample_one({1, 5, 3, 5}, {}).token, 1);
  std::vector<float> wide(1000, -2.0f);
  wide[900] = wide[37] = wide[501] = -1;
  EXPECT_EQ(sample_one(wide, {}).token, 37);
  EXPECT_EQ(sample_one({-kInfinity, -3}, {}).token, 1);
}

TEST_F(GpuSampleTest, WhatIsNotFiniteChoosesNothing) {
  const int32_t banned[] = {0, 1};
  for (const float bad : {kInfinity, std::nanf("")}) {
    const SampleResult result = sample_one({1, bad, 2}, {.numbers = {.temperature = 1}});
    EXPECT_FALSE(result.finite);
    EXPECT_EQ(result.token, -1);
  }
  EXPECT_FALSE(sample_one({-kInfinity, -kInfinity}, {}).finite);
  EXPECT_FALSE(sample_one({1, 2}, {.numbers = {}, .banned = banned, .num_banned = 2}).finite);
  EXPECT_TRUE(sample_one({1, 2}, {.numbers = {}, .banned = banned, .num_banned = 1}).finite);
}

// Equal scores at the border of top-p are kept by ascending id.
TEST_F(GpuSampleTest, TopPCutsWithinATie) {
  const std::vector<float> logits(10, 1.0f);
  for (int32_t position = 0; position < 20; ++position)
    EXPECT_LT(
        sample_one(logits,
                   {.numbers = {.temperature = 1, .top_p = 0.25f}, .seed = 5, .position = position})
            .token,
        3);
}

// Rows of random settings: equal tokens, but where the random number falls within rounding of a
// border; equal log-probabilities.
TEST_F(GpuSampleTest, AgreesWithTheReference) {
  std::mt19937 random(11);
  int different = 0, compared = 0;
  for (const int64_t vocabulary : {1, 3, 17, 255, 257, 1000, 4999}) {
    constexpr int kRows = 50;
    Matrix logits(DType::kF32, kRows, vocabulary, vocabulary + 1);
    logits.randomise(random, 3.0f);
    std::vector<std::vector<int32_t>> tokens;
    std::vector<SampleRow> rows;
    for (int i = 0; i < kRows; ++i) {
      std::vector<int32_t>& row = tokens.emplace_back();
      for (int t = 0; t < 40; ++t)
        row.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
      row.back() = static_cast<int32_t>(vocabulary);  // passed over
      const auto pick = [&](auto a, auto b, auto c) {
        const auto which = static_cast<uint32_t>(random() % 3);
        return which == 0 ? a : which == 1 ? b : c;
      };
      rows.push_back({.numbers = {.temperature = pick(0.0f, 0.7f, 1.5f),
                                  .top_k = pick(0, 5, 2000),
                                  .top_p = pick(1.0f, 0.9f, 0.999f),
                                  .min_p = pick(0.0f, 0.05f, 0.3f),
                                  .repetition_penalty = pick(1.0f, 1.3f, 0.8f),
                                  .presence_penalty = pick(0.0f, 0.5f, -0.5f),
                                  .frequency_penalty = pick(0.0f, 0.25f, 0.0f),
                                  .logprobs = pick(-1, 0, 20)},
                      .seed = random(),
                      .position = i,
                      .tokens = row.data(),
                      .prompt_tokens = 15,
                      .num_tokens = 40,
                      .banned = row.data() + 8,  // by other threads than their penalties
                      .num_banned = vocabulary > 3 ? pick(0, 0, 2) : 0});
    }
    const auto actual = sample(logits, rows);
    const auto truth = expected(logits, rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      ++compared;
      if (actual[i].token != truth[i].token) {
        ++different;
        ASSERT_GT(rows[i].numbers.temperature, 0) << vocabulary;
        continue;
      }
      ASSERT_EQ(actual[i].finite, truth[i].finite);
      ASSERT_NEAR(actual[i].logprob, truth[i].logprob, 2e-5f);
      ASSERT_EQ(actual[i].num_top, truth[i].num_top);
      for (int32_t t = 0; t < actual[i].num_top; ++t) {
        ASSERT_EQ(actual[i].top[t].token, truth[i].top[t].token);
        ASSERT_NEAR(actual[i].top[t].logprob, truth[i].top[t].logprob, 2e-5f);
      }
    }
  }
  EXPECT_LE(different, compared / 100);
}

TEST_F(GpuSampleTest, TooManyLogitsThrowAtTheCall) {
  const Matrix logits(DType::kF32, 1, 5001);
  const SampleRow row;
  SampleResult result;
  EXPECT_THROW(kernels_.sample({logits.view(), &row, &result}, *stream_), InternalError);
}

}  // namespace
}  // namespace zerostream
