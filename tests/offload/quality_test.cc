// What storing weights, keys and values in fewer bits may cost, on tiny models.
#include <gtest/gtest.h>

#include <cmath>

#include "bench/divergence.h"
#include "tests/offload/golden_case.h"

namespace zerostream {
namespace {

// Text of a model's own, so that its predictions are as sharp as they get.
std::vector<int32_t> sampled_text(GoldenModel& model) {
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, tiny_options());
  GenerationRequest request;
  request.prompt_tokens = {5};
  request.max_new_tokens = 60;
  request.sampling.temperature = 1;
  std::vector<int32_t> tokens = request.prompt_tokens;
  const GenerationResult result = generate_all(generator, {request})[0];
  tokens.insert(tokens.end(), result.token_ids.begin(), result.token_ids.end());
  return tokens;
}

std::vector<float> all_logits(GoldenModel& model, const std::vector<int32_t>& tokens,
                              const RuntimeOptions& options) {
  ModelRuntime runtime(model.store(), model.device(), model.kernels(), options);
  std::vector<int32_t> positions(tokens.size() - 1);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  return compute_logits(runtime, model.device(), tokens, positions, 16);
}

// The bounds are about twice what these models give, whose random weights magnify every error.
struct Case {
  const char* name;
  PackOptions pack;
  bool int8_activations = false;
  std::optional<DType> kv_dtype;
  double most_kl = 0;  // nats
};

std::vector<Case> cases() {
  const auto quantised = [](DType dtype, int32_t group_size, bool asymmetric) {
    PackOptions pack;
    pack.dtype = dtype;
    pack.group_size = group_size;
    pack.asymmetric = asymmetric;
    return pack;
  };
  PackOptions bf16, fp32;
  bf16.dtype = DType::kBF16;
  fp32.dtype = DType::kF32;
  return {{"bf16", bf16, false, {}, 2e-3},
          {"kv_int8", fp32, false, DType::kI8, 3e-3},
          {"int8_g32", quantised(DType::kI8, 32, false), false, {}, 1e-2},
          {"int8_g32_asymmetric", quantised(DType::kI8, 32, true), false, {}, 1e-2},
          {"int8_g128", quantised(DType::kI8, 128, false), false, {}, 1e-2},
          {"int8_activations", quantised(DType::kI8, 64, false), true, {}, 2.5e-2},
          {"int4_g32", quantised(DType::kI4, 32, false), false, {}, 0.7},
          {"int4_g32_asymmetric", quantised(DType::kI4, 32, true), false, {}, 0.8},
          {"int4_g128", quantised(DType::kI4, 128, false), false, {}, 0.9}};
}

class Quality : public testing::TestWithParam<Case> {};

TEST_P(Quality, StaysNearFp32) {
  const Case& kind = GetParam();
  for (const char* name : {"llama3", "qwen3", "gpt2"}) {
    GoldenModel reference(golden_path(name), DType::kF32);
    GoldenModel model(golden_path(name), kind.pack);
    const std::vector<int32_t> tokens = sampled_text(reference);
    RuntimeOptions options = tiny_options();
    const std::vector<float> expected = all_logits(reference, tokens, options);
    options.kv_dtype = kind.kv_dtype;
    options.int8_activations = kind.int8_activations;
    const std::vector<float> actual = all_logits(model, tokens, options);
    const auto vocab_size = static_cast<size_t>(model.store().config().vocab_size);
    Divergence divergence;
    for (size_t i = 0; i + 1 < tokens.size(); ++i)
      divergence.add(std::span(expected).subspan(i * vocab_size, vocab_size),
                     std::span(actual).subspan(i * vocab_size, vocab_size), tokens[i + 1]);
    EXPECT_GT(divergence.mean_kl(), 0) << name << ": nothing was changed";
    EXPECT_LE(divergence.mean_kl(), kind.most_kl) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Quality, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Divergence, IsThatOfTheFormula) {
  const float reference[] = {0, std::log(3.0f)}, other[] = {std::log(3.0f), 0};
  Divergence divergence;
  divergence.add(reference, reference, 1);
  EXPECT_NEAR(divergence.mean_kl(), 0, 1e-7);
  EXPECT_DOUBLE_EQ(divergence.top1_agreement(), 1);
  EXPECT_NEAR(divergence.perplexity(), 4 / 3.0, 1e-6);
  divergence.add(reference, other, 1);  // (1/4, 3/4) and (3/4, 1/4): log 3 / 2
  EXPECT_NEAR(divergence.mean_kl(), std::log(3.0) / 4, 1e-6);
  EXPECT_DOUBLE_EQ(divergence.top1_agreement(), 0.5);
  EXPECT_NEAR(divergence.reference_perplexity(), 4 / 3.0, 1e-6);
  EXPECT_NEAR(divergence.perplexity(), std::exp((std::log(4 / 3.0) + std::log(4.0)) / 2), 1e-6);
}

}  // namespace
}  // namespace zerostream
