// Log-sum-exp over parts of a vocabulary: small truths on the reference and the fast kernels alike,
// then one against the other.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/cpu/backends.h"
#include "tests/cpu/kernel_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Runs the reference for the backend named "reference", else the fast kernels.
class SoftmaxTest : public BackendTest {
 protected:
  Kernels& kernels() {
    if (std::string(GetParam().name) == "reference") return reference_;
    return kernels_;
  }

  // Takes the columns of all rows in parts that end at `ends`.
  std::vector<SoftmaxState> accumulate(Kernels& kernels, const Matrix& logits,
                                       const std::vector<int32_t>& targets,
                                       const std::vector<int64_t>& ends) {
    std::vector<SoftmaxState> states(targets.size());
    int64_t begin = 0;
    for (const int64_t end : ends) {
      kernels.accumulate_softmax({.logits = logits.view().col_range(begin, end - begin),
                                  .vocabulary_begin = static_cast<int32_t>(begin),
                                  .targets = targets.data(),
                                  .states = states.data()},
                                 *stream_);
      begin = end;
    }
    stream_->synchronize();
    return states;
  }

  SoftmaxState accumulate_one(const std::vector<float>& logits, int32_t target) {
    const auto cols = static_cast<int64_t>(logits.size());
    Matrix matrix(DType::kF32, 1, cols);
    matrix.fill(logits);
    return accumulate(kernels(), matrix, {target}, {cols})[0];
  }
};

std::vector<Backend> with_reference() {
  std::vector<Backend> all = {{"reference", CpuIsa::kAvx2, 1}};
  all.insert(all.end(), std::begin(kBackends), std::end(kBackends));
  return all;
}
INSTANTIATE_TEST_SUITE_P(Cpu, SoftmaxTest, ::testing::ValuesIn(with_reference()), backend_name);

TEST_P(SoftmaxTest, LogProbabilityOfTheTarget) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.15f),
                                     std::log(0.25f)};
  for (int32_t target = 0; target < 4; ++target) {
    const SoftmaxState state = accumulate_one(logits, target);
    EXPECT_NEAR(state.logprob(), logits[static_cast<size_t>(target)], 1e-6f);
    EXPECT_EQ(state.best, 1);
    EXPECT_EQ(state.largest, logits[1]);
    EXPECT_TRUE(state.finite);
  }
}

TEST_P(SoftmaxTest, PartsAddUp) {
  Matrix logits(DType::kF32, 2, 300);
  for (int64_t i = 0; i < 600; ++i) logits.set(i / 300, i % 300, static_cast<float>(i % 7));
  logits.set(1, 250, 90);  // all before it vanish
  for (const std::vector<int64_t>& ends :
       {std::vector<int64_t>{300}, {1, 2, 300}, {64, 128, 300}, {100, 299, 300}}) {
    const auto states = accumulate(kernels(), logits, {200, 250}, ends);
    double total = 0;
    for (int64_t i = 0; i < 300; ++i) total += std::exp(static_cast<double>(i % 7));
    EXPECT_NEAR(states[0].logprob(), 200 % 7 - std::log(total), 1e-5);
    EXPECT_EQ(states[0].best, 6);
    EXPECT_NEAR(states[1].logprob(), 0, 1e-6);
    EXPECT_EQ(states[1].best, 250);
  }
}

TEST_P(SoftmaxTest, BestIsTheLowestIdOfATieInWhateverPart) {
  Matrix logits(DType::kF32, 1, 200);
  for (const int64_t place : {37, 99, 150}) logits.set(0, place, 2);
  for (const std::vector<int64_t>& ends : {std::vector<int64_t>{200}, {38, 200}, {10, 120, 200}})
    EXPECT_EQ(accumulate(kernels(), logits, {-1}, ends)[0].best, 37);
}

TEST_P(SoftmaxTest, WhatIsNotFiniteIsFound) {
  for (const int64_t place : {0, 5, 63, 64, 99})
    for (const float bad : {std::nanf(""), kInfinity}) {
      Matrix logits(DType::kF32, 2, 100);
      logits.set(0, place, bad);
      const auto states = accumulate(kernels(), logits, {1, 1}, {50, 100});
      EXPECT_FALSE(states[0].finite);
      EXPECT_TRUE(states[1].finite);
      EXPECT_NEAR(states[1].logprob(), -std::log(100.0f), 1e-6f);
    }
}

TEST_P(SoftmaxTest, MinusInfinityHasNoWeight) {
  std::vector<float> logits(150, -kInfinity);
  logits[140] = -3;
  const SoftmaxState state = accumulate_one(logits, 140);
  EXPECT_TRUE(state.finite);
  EXPECT_EQ(state.best, 140);
  EXPECT_NEAR(state.logprob(), 0, 1e-6f);
  EXPECT_EQ(accumulate_one(logits, 3).logprob(), -kInfinity);
}

TEST_P(SoftmaxTest, AgreesWithTheReference) {
  std::mt19937 random(21);
  for (const int64_t vocabulary : {1, 17, 63, 64, 65, 1000, 66000}) {
    Matrix logits(DType::kF32, 9, vocabulary, vocabulary + 3);
    logits.randomise(random, 4.0f);
    std::vector<int32_t> targets;
    for (int i = 0; i < 9; ++i)
      targets.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
    std::vector<int64_t> ends = {ceil_div(vocabulary, 3)};
    if (ends[0] < vocabulary) ends.push_back(vocabulary);
    const auto actual = accumulate(kernels(), logits, targets, ends);
    const auto expected = accumulate(reference_, logits, targets, ends);
    for (size_t i = 0; i < 9; ++i) {
      ASSERT_EQ(actual[i].best, expected[i].best);
      ASSERT_EQ(actual[i].largest, expected[i].largest);
      ASSERT_NEAR(actual[i].logprob(), expected[i].logprob(), 1e-5f) << vocabulary;
    }
  }
}

// The same bits for a row alone and among others, and for every cut into whole panels of outputs.
TEST_P(SoftmaxTest, SameBitsForEveryCut) {
  if (std::string(GetParam().name) == "reference") GTEST_SKIP() << "the reference only agrees";
  std::mt19937 random(22);
  Matrix logits(DType::kF32, 5, 1000);
  logits.randomise(random, 4.0f);
  const std::vector<int32_t> targets = {0, 999, 64, 63, -1};
  const auto whole = accumulate(kernels(), logits, targets, {1000});
  const auto cut = accumulate(kernels(), logits, targets, {64, 128, 512, 960, 1000});
  for (size_t i = 0; i < 5; ++i) {
    SoftmaxState alone;
    kernels().accumulate_softmax({.logits = logits.view().row_range(static_cast<int64_t>(i), 1),
                                  .targets = &targets[i],
                                  .states = &alone},
                                 *stream_);
    stream_->synchronize();
    for (const SoftmaxState& other : {cut[i], alone}) {
      EXPECT_EQ(other.sum, whole[i].sum);
      EXPECT_EQ(other.largest, whole[i].largest);
      EXPECT_EQ(other.target_logit, whole[i].target_logit);
      EXPECT_EQ(other.best, whole[i].best);
    }
  }
}

TEST_P(SoftmaxTest, WrongArgumentsThrowAtTheCall) {
  const Matrix logits(DType::kF32, 1, 4), half(DType::kF16, 1, 4);
  const int32_t target = 0;
  SoftmaxState state;
  EXPECT_THROW(
      kernels().accumulate_softmax({.logits = logits.view(), .targets = &target}, *stream_),
      InternalError);
  EXPECT_THROW(kernels().accumulate_softmax(
                   {.logits = half.view(), .targets = &target, .states = &state}, *stream_),
               InternalError);
}

}  // namespace
}  // namespace zerostream
