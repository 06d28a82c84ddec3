// The truth: what transformers computes with the same weights in fp32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/json.h"
#include "tests/offload/golden_case.h"

namespace zerostream {
namespace {

class Golden : public testing::TestWithParam<std::string> {};

void expect_close(const std::vector<float>& actual, const std::vector<float>& expected,
                  double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  double largest = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - expected[i]));
  }
  EXPECT_LE(worst, tolerance * largest);
}

// Mean squared error over mean square.
double normalised_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double error = 0, power = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    power += std::pow(static_cast<double>(expected[i]), 2);
  }
  return error / power;
}

std::vector<int32_t> whole_text(const GoldenPrompt& prompt) {
  std::vector<int32_t> tokens = prompt.token_ids;
  tokens.insert(tokens.end(), prompt.generated.begin(), prompt.generated.end());
  return tokens;
}

void expect_logits(GoldenModel& model, const std::string& name) {
  ModelRuntime runtime(model.store(), model.device(), model.kernels(), tiny_options());
  for (const GoldenPrompt& prompt : golden_prompts(name))
    expect_close(compute_logits(runtime, whole_text(prompt), prompt.positions, 64), prompt.logits,
                 1e-4);
}

void expect_greedy_text(GoldenModel& model, const std::string& name, PlacementKind placement) {
  Generator generator(model.store(), model.device(), model.kernels(), nullptr,
                      tiny_options(placement));
  const std::vector<GoldenPrompt> prompts = golden_prompts(name);
  std::vector<GenerationRequest> requests(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    requests[i].prompt_tokens = prompts[i].token_ids;
    requests[i].max_new_tokens = static_cast<int32_t>(prompts[i].generated.size());
  }
  const std::vector<GenerationResult> results = generate_all(generator, requests);
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(results[i].token_ids, prompts[i].generated);
    EXPECT_EQ(results[i].reason, FinishReason::kLength);
  }
}

TEST_P(Golden, LogitsInFp32) {
  GoldenModel model(golden_path(GetParam()), DType::kF32);
  expect_logits(model, GetParam());
}

TEST_P(Golden, GreedyTextFromNvmeAndFromHost) {
  GoldenModel model(golden_path(GetParam()), DType::kF32);
  expect_greedy_text(model, GetParam(), PlacementKind::kNvme);
  expect_greedy_text(model, GetParam(), PlacementKind::kHost);
}

// Cases that hold the same weights as a GGUF file, too.
class GoldenGguf : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGguf, SameAsItsTwin) {
  GoldenModel model(golden_path(GetParam()) + "/model.gguf", DType::kF32);
  expect_logits(model, GetParam());
  expect_greedy_text(model, GetParam(), PlacementKind::kNvme);
}

void expect_logits_near(GoldenModel& model, const std::string& name, double bound) {
  ModelRuntime runtime(model.store(), model.device(), model.kernels(), tiny_options());
  for (const GoldenPrompt& prompt : golden_prompts(name)) {
    const std::vector<float> logits =
        compute_logits(runtime, whole_text(prompt), prompt.positions, 64);
    EXPECT_LE(normalised_error(logits, prompt.logits), bound)
        << dtype_name(model.store().layout().dtype);
  }
}

// Half precision: the bounds are what 8 and 11 bits of mantissa give on these models, with their
// large weights.
TEST_P(Golden, LogitsInHalfPrecision) {
  GoldenModel bf16(golden_path(GetParam()), DType::kBF16);
  expect_logits_near(bf16, GetParam(), 2e-3);
  GoldenModel fp16(golden_path(GetParam()), DType::kF16);
  expect_logits_near(fp16, GetParam(), 5e-5);
}

// A store made here runs on every x86-64 machine: lesser instruction sets read the same tiles.
TEST_P(Golden, EveryInstructionSet) {
  for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16}) {
    if (isa > detect_cpu_isa()) break;
    GoldenModel fp32(golden_path(GetParam()), DType::kF32, {.threads = 2, .max_isa = isa});
    expect_logits(fp32, GetParam());
    GoldenModel bf16(golden_path(GetParam()), DType::kBF16, {.threads = 2, .max_isa = isa});
    expect_logits_near(bf16, GetParam(), 2e-3);
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<std::string> gguf_names() {
  std::vector<std::string> names = golden_names();
  std::erase_if(names, [](const std::string& name) {
    return !std::filesystem::exists(golden_path(name) + "/model.gguf");
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(golden_names()), test_name);
INSTANTIATE_TEST_SUITE_P(Models, GoldenGguf, testing::ValuesIn(gguf_names()), test_name);

// A real model: its text is the reference's, from prompt text to generated text.
TEST(SmolLM2, GreedyText) {
  const std::string file = ZS_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(file))
    GTEST_SKIP() << file << " is absent: run scripts/get_model.sh";
  GoldenModel model(file, DType::kF32);
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(file);
  RuntimeOptions options = tiny_options(PlacementKind::kHost);
  options.host_memory = int64_t{2} << 30;
  options.token_budget = 512;
  Generator generator(model.store(), model.device(), model.kernels(), tokenizer.get(), options);

  const Json expected = read_json_file(golden_path("smollm2") + "/expected.json");
  std::vector<GenerationRequest> requests;
  for (const Json& value : expected.at("cases")) {
    GenerationRequest request;
    request.prompt_tokens = tokenizer->encode(value.at("prompt").get<std::string>(), true);
    EXPECT_EQ(request.prompt_tokens, value.at("token_ids").get<std::vector<int32_t>>());
    request.max_new_tokens = expected.at("max_new_tokens");
    request.stop_token_ids = model.store().config().eos_token_ids;
    requests.push_back(request);
  }
  const std::vector<GenerationResult> results = generate_all(generator, requests);
  for (size_t i = 0; i < results.size(); ++i) {
    const Json& value = expected.at("cases")[i];
    EXPECT_EQ(tokenizer->decode(results[i].token_ids, true), value.at("text").get<std::string>());
    std::vector<int32_t> tokens = results[i].token_ids;
    if (results[i].ends_with_stop_token) tokens.pop_back();
    EXPECT_EQ(tokens, value.at("generated").get<std::vector<int32_t>>());
  }
}

}  // namespace
}  // namespace zerostream
