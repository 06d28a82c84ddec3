// Sampling: small truths on the reference and the fast kernels alike, then one against the other.
#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/cpu/backends.h"
#include "tests/cpu/kernel_fixture.h"

namespace zerostream {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Runs the reference for the backend named "reference", else the fast kernels.
class SampleTest : public BackendTest {
 protected:
  Kernels& kernels() {
    if (std::string(GetParam().name) == "reference") return reference_;
    return kernels_;
  }

  std::vector<SampleResult> sample(Kernels& kernels, const Matrix& logits,
                                   const std::vector<SampleRow>& rows) {
    std::vector<SampleResult> results(rows.size());
    kernels.sample({logits.view(), rows.data(), results.data()}, *stream_);
    stream_->synchronize();
    return results;
  }

  SampleResult sample_one(const std::vector<float>& logits, const SampleRow& row) {
    Matrix matrix(DType::kF32, 1, static_cast<int64_t>(logits.size()));
    matrix.fill(logits);
    return sample(kernels(), matrix, {row})[0];
  }

  // How often each token comes in `draws` draws.
  std::map<int32_t, int> frequencies(const std::vector<float>& logits,
                                     const SamplingNumbers& numbers, int draws) {
    Matrix matrix(DType::kF32, draws, static_cast<int64_t>(logits.size()));
    std::vector<SampleRow> rows;
    for (int i = 0; i < draws; ++i) {
      for (size_t col = 0; col < logits.size(); ++col)
        matrix.set(i, static_cast<int64_t>(col), logits[col]);
      rows.push_back(
          {.numbers = numbers, .seed = static_cast<uint64_t>(i / 10) * 77, .position = i % 10});
    }
    std::map<int32_t, int> counts;
    for (const SampleResult& result : sample(kernels(), matrix, rows)) ++counts[result.token];
    return counts;
  }

  std::set<int32_t> drawn(const std::vector<float>& logits, const SamplingNumbers& numbers) {
    std::set<int32_t> tokens;
    for (const auto& [token, count] : frequencies(logits, numbers, 400)) tokens.insert(token);
    return tokens;
  }
};

std::vector<Backend> with_reference() {
  std::vector<Backend> all = {{"reference", CpuIsa::kAvx2, 1}};
  all.insert(all.end(), std::begin(kBackends), std::end(kBackends));
  return all;
}
INSTANTIATE_TEST_SUITE_P(Cpu, SampleTest, ::testing::ValuesIn(with_reference()), backend_name);

std::vector<float> logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST_P(SampleTest, GreedyTakesTheLowestIdOfATie) {
  EXPECT_EQ(sample_one({1, 5, 3, 5}, {}).token, 1);
  std::vector<float> wide(1000, -2.0f);
  wide[900] = wide[37] = wide[501] = -1;
  EXPECT_EQ(sample_one(wide, {}).token, 37);
  EXPECT_EQ(sample_one({-kInfinity, -3}, {}).token, 1);
}

TEST_P(SampleTest, DrawsFollowTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits = logs({0.5f, 0.3f, 0.15f, 0.05f});
  const int draws = 20000;
  for (const float temperature : {1.0f, 0.5f, 2.0f}) {
    double total = 0;
    for (const float logit : logits) total += std::exp(logit / temperature);
    const auto counts = frequencies(logits, {.temperature = temperature}, draws);
    for (int32_t id = 0; id < 4; ++id) {
      const double p = std::exp(logits[static_cast<size_t>(id)] / temperature) / total;
      const double deviation = std::sqrt(draws * p * (1 - p));
      EXPECT_NEAR(counts.at(id), draws * p, 4.5 * deviation) << id << " at " << temperature;
    }
  }
}

TEST_P(SampleTest, DrawWalksAscendingIds) {
  const std::vector<float> logits = logs({0.25f, 0.25f, 0.5f});
  for (int32_t position = 0; position < 50; ++position) {
    const double u = draw_uniform(9, position);
    const int32_t expected = u < 0.25 ? 0 : u < 0.5 ? 1 : 2;
    EXPECT_EQ(
        sample_one(logits, {.numbers = {.temperature = 1}, .seed = 9, .position = position}).token,
        expected);
  }
}

TEST_P(SampleTest, TopKKeepsTies) {
  EXPECT_THAT(drawn({1, 3, 2, 2, 0}, {.temperature = 1, .top_k = 1}), ElementsAre(1));
  EXPECT_THAT(drawn({1, 3, 2, 2, 0}, {.temperature = 1, .top_k = 2}), ElementsAre(1, 2, 3));
  EXPECT_THAT(drawn({1, 1, 1}, {.temperature = 1, .top_k = 100}), ElementsAre(0, 1, 2));
}

TEST_P(SampleTest, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = logs({0.1f, 0.5f, 0.15f, 0.25f});
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_p = 0.01f}), ElementsAre(1));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_p = 0.49f}), ElementsAre(1));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_p = 0.51f}), ElementsAre(1, 3));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_p = 0.76f}), ElementsAre(1, 2, 3));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_p = 0.95f}), ElementsAre(0, 1, 2, 3));
  // Equal probabilities: the lower ids first.
  EXPECT_THAT(drawn({0, 0, 0, 0}, {.temperature = 1, .top_p = 0.6f}), ElementsAre(0, 1, 2));
}

TEST_P(SampleTest, TopPCountsWhatTopKLeft) {
  // After top-k 2 the two have 2/3 and 1/3.
  const std::vector<float> logits = logs({0.1f, 0.5f, 0.15f, 0.25f});
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_k = 2, .top_p = 0.65f}), ElementsAre(1));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .top_k = 2, .top_p = 0.7f}), ElementsAre(1, 3));
}

TEST_P(SampleTest, MinPIsRelativeToTheLargest) {
  const std::vector<float> logits = logs({0.1f, 0.5f, 0.15f, 0.25f});
  EXPECT_THAT(drawn(logits, {.temperature = 1, .min_p = 0.49f}), ElementsAre(1, 3));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .min_p = 0.51f}), ElementsAre(1));
  EXPECT_THAT(drawn(logits, {.temperature = 1, .min_p = 1}), ElementsAre(1));
}

TEST_P(SampleTest, RepetitionPenaltyOfPromptAndOutputOnce) {
  const std::array<int32_t, 4> tokens = {0, 2, 2, 99};  // 99 is outside the vocabulary
  SampleRow row = {.numbers = {.repetition_penalty = 2, .logprobs = 0},
                   .tokens = tokens.data(),
                   .prompt_tokens = 1,
                   .num_tokens = 4};
  EXPECT_EQ(sample_one({6, 2, 5}, row).token, 0);        // 3, 2, 2.5
  EXPECT_EQ(sample_one({4, 2.25f, 5}, row).token, 2);    // 2, 2.25, 2.5
  EXPECT_EQ(sample_one({-1, -1.5f, -1}, row).token, 1);  // -2, -1.5, -2
  EXPECT_EQ(sample_one({-1, -1.5f, -0.5f}, row).token, 2);
}

TEST_P(SampleTest, PresenceAndFrequencyPenaltiesOfOutputAlone) {
  const std::array<int32_t, 5> tokens = {0, 0, 1, 2, 2};
  SampleRow row = {.numbers = {}, .tokens = tokens.data(), .prompt_tokens = 2, .num_tokens = 5};
  row.numbers.presence_penalty = 1;  // tokens 1 and 2 lose 1
  EXPECT_EQ(sample_one({2, 2.5f, 2.75f}, row).token, 0);
  EXPECT_EQ(sample_one({2, 2.5f, 3.25f}, row).token, 2);
  row.numbers = {.frequency_penalty = 1};  // token 1 loses 1, token 2 loses 2
  EXPECT_EQ(sample_one({2, 3.5f, 4.25f}, row).token, 1);
  EXPECT_EQ(sample_one({2, 3.5f, 4.75f}, row).token, 2);
}

TEST_P(SampleTest, PenaltiesOfOneRowLeaveTheNextAlone) {
  Matrix logits(DType::kF32, 6, 3);
  logits.fill({3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1});
  const int32_t token = 0;
  std::vector<SampleRow> rows(6);
  for (size_t i = 0; i < 6; i += 2)
    rows[i] = {.numbers = {.repetition_penalty = 5}, .tokens = &token, .num_tokens = 1};
  const auto results = sample(kernels(), logits, rows);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(results[i].token, i % 2 == 0 ? 1 : 0);
}

TEST_P(SampleTest, BannedTokensNeverCome) {
  const std::array<int32_t, 3> banned = {1, 2, -1};
  SampleRow row = {.numbers = {}, .banned = banned.data(), .num_banned = 3};
  EXPECT_EQ(sample_one({1, 9, 8, 0}, row).token, 0);
  row.numbers.temperature = 100;
  for (row.position = 0; row.position < 50; ++row.position)
    EXPECT_THAT(sample_one({1, 9, 8, 0}, row).token, ::testing::AnyOf(0, 3));
  EXPECT_FALSE(sample_one({std::numeric_limits<float>::quiet_NaN(), 1, 2}, row).finite);
  EXPECT_FALSE(sample_one({-kInfinity, 1, 2}, row).finite);
}

TEST_P(SampleTest, WhatIsNotFiniteIsFound) {
  for (const int64_t place : {0, 5, 16, 99})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      std::vector<float> logits(100, 1.0f);
      logits[static_cast<size_t>(place)] = bad;
      const SampleResult result = sample_one(logits, {.numbers = {.logprobs = 3}});
      EXPECT_FALSE(result.finite);
      EXPECT_EQ(result.token, -1);
      EXPECT_EQ(result.num_top, 0);
    }
  EXPECT_FALSE(sample_one({-kInfinity, -kInfinity}, {}).finite);
  EXPECT_TRUE(sample_one({-kInfinity, 0}, {.numbers = {.temperature = 1}}).finite);
}

TEST_P(SampleTest, LogprobsAreOfTheRawLogits) {
  const std::vector<float> logits = logs({0.1f, 0.5f, 0.15f, 0.25f});
  const int32_t token = 1;
  const SampleResult result = sample_one(
      logits,
      {.numbers = {.repetition_penalty = 0.01f, .logprobs = 2}, .tokens = &token, .num_tokens = 1});
  // Negative logits shrink by 100: token 1 stays first. Then a ban takes it away.
  EXPECT_EQ(result.token, 1);
  EXPECT_NEAR(result.logprob, std::log(0.5f), 1e-6f);
  ASSERT_EQ(result.num_top, 2);
  EXPECT_EQ(result.top[0].token, 1);
  EXPECT_EQ(result.top[1].token, 3);
  EXPECT_NEAR(result.top[1].logprob, std::log(0.25f), 1e-6f);
  const SampleResult other =
      sample_one(logits, {.numbers = {.logprobs = 0}, .banned = &token, .num_banned = 1});
  EXPECT_EQ(other.token, 3);
  EXPECT_NEAR(other.logprob, std::log(0.25f), 1e-6f);
  EXPECT_EQ(other.num_top, 0);
}

TEST_P(SampleTest, LogprobsOfManyAreCutAndTiesRankByLowerId) {
  std::vector<float> logits(300, 1.0f);
  logits[200] = 2;
  logits[0] = -kInfinity;
  const SampleResult result = sample_one(logits, {.numbers = {.logprobs = 1000}});
  ASSERT_EQ(result.num_top, SampleResult::kMaxTop);
  EXPECT_EQ(result.top[0].token, 200);
  for (int32_t i = 1; i < result.num_top; ++i) EXPECT_EQ(result.top[i].token, i);
  EXPECT_EQ(sample_one({-kInfinity, 1}, {.numbers = {.logprobs = 5}}).num_top, 1);
}

TEST_P(SampleTest, ExtremeTemperatures) {
  EXPECT_EQ(sample_one({1, 3, 2}, {.numbers = {.temperature = 1e-30f}}).token, 1);
  EXPECT_THAT(drawn({10000, 0, -10000}, {.temperature = 1e9f}), ElementsAre(0, 1, 2));
}

// Rows of random settings: equal tokens, but where the random number falls within rounding of a
// border; equal log-probabilities.
TEST_P(SampleTest, AgreesWithTheReference) {
  std::mt19937 random(11);
  int different = 0, compared = 0;
  for (const int64_t vocabulary : {1, 3, 17, 255, 256, 257, 1000, 5003, 66000}) {
    const int count = vocabulary > 10000 ? 12 : 60;
    Matrix logits(DType::kF32, count, vocabulary, vocabulary + 1);
    logits.randomise(random, 3.0f);
    std::vector<std::vector<int32_t>> tokens;
    std::vector<SampleRow> rows;
    for (int i = 0; i < count; ++i) {
      tokens.emplace_back();
      for (int t = 0; t < 40; ++t)
        tokens.back().push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
      const auto pick = [&](auto a, auto b, auto c) {
        const uint32_t which = static_cast<uint32_t>(random() % 3);
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
                      .tokens = tokens.back().data(),
                      .prompt_tokens = 15,
                      .num_tokens = 40});
    }
    const auto actual = sample(kernels(), logits, rows);
    const auto expected = sample(reference_, logits, rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      ++compared;
      if (actual[i].token != expected[i].token) {
        ++different;
        ASSERT_GT(rows[i].numbers.temperature, 0);
        continue;
      }
      ASSERT_NEAR(actual[i].logprob, expected[i].logprob, 2e-5f);
      ASSERT_EQ(actual[i].num_top, expected[i].num_top);
      for (int32_t t = 0; t < actual[i].num_top; ++t) {
        ASSERT_EQ(actual[i].top[t].token, expected[i].top[t].token);
        ASSERT_NEAR(actual[i].top[t].logprob, expected[i].top[t].logprob, 2e-5f);
      }
    }
  }
  EXPECT_LE(different, compared / 100);
}

TEST_P(SampleTest, ARowDrawsTheSameAloneAndAmongOthers) {
  std::mt19937 random(12);
  Matrix logits(DType::kF32, 40, 3001);
  logits.randomise(random, 2.0f);
  std::vector<SampleRow> rows(40);
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = {.numbers = {.temperature = 1, .top_p = 0.95f, .logprobs = 5}, .seed = i};
  const auto together = sample(kernels(), logits, rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    SampleResult alone;
    kernels().sample({logits.view().row_range(static_cast<int64_t>(i), 1), &rows[i], &alone},
                     *stream_);
    stream_->synchronize();
    EXPECT_EQ(alone.token, together[i].token);
    EXPECT_EQ(alone.logprob, together[i].logprob);
    EXPECT_EQ(alone.top[4].logprob, together[i].top[4].logprob);
  }
}

// The most that top-p can need: all but a few of a flat row's tokens.
TEST_P(SampleTest, TopPOfAFlatRow) {
  std::mt19937 random(13);
  Matrix logits(DType::kF32, 1, 20000);
  logits.randomise(random, 0.01f);
  std::vector<SampleRow> rows = {{.numbers = {.temperature = 1, .top_p = 0.99f}, .seed = 3}};
  for (rows[0].position = 0; rows[0].position < 5; ++rows[0].position)
    EXPECT_EQ(sample(kernels(), logits, rows)[0].token, sample(reference_, logits, rows)[0].token);
}

}  // namespace
}  // namespace zerostream
