// The truth: what transformers computes with the same weights in fp32.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "model/json.h"
#include "tests/offload/golden_case.h"

namespace zerostream {
namespace {

class Golden : public testing::TestWithParam<std::string> {};

constexpr double kFp32Tolerance = 1e-4;
// Half precision: the bounds are what 8 and 11 bits of mantissa give on these models, with their
// large weights.
constexpr double kBf16Error = 2e-3, kFp16Error = 5e-5;

TEST_P(Golden, LogitsInFp32) {
  GoldenModel model(golden_path(GetParam()), DType::kF32);
  expect_golden_logits(model.subject(), tiny_options(), GetParam(), kFp32Tolerance);
}

TEST_P(Golden, GreedyTextFromNvmeAndFromHost) {
  GoldenModel model(golden_path(GetParam()), DType::kF32);
  expect_golden_text(model.subject(), tiny_options(PlacementKind::kNvme), GetParam());
  expect_golden_text(model.subject(), tiny_options(PlacementKind::kHost), GetParam());
}

// Cases that hold the same weights as a GGUF file, too.
class GoldenGguf : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGguf, SameAsItsTwin) {
  GoldenModel model(golden_path(GetParam()) + "/model.gguf", DType::kF32);
  expect_golden_logits(model.subject(), tiny_options(), GetParam(), kFp32Tolerance);
  expect_golden_text(model.subject(), tiny_options(PlacementKind::kNvme), GetParam());
}

TEST_P(Golden, LogitsInHalfPrecision) {
  GoldenModel bf16(golden_path(GetParam()), DType::kBF16);
  expect_golden_logits_near(bf16.subject(), tiny_options(), GetParam(), kBf16Error);
  GoldenModel fp16(golden_path(GetParam()), DType::kF16);
  expect_golden_logits_near(fp16.subject(), tiny_options(), GetParam(), kFp16Error);
}

// A store made here runs on every x86-64 machine: lesser instruction sets read the same tiles.
TEST_P(Golden, EveryInstructionSet) {
  for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16}) {
    if (isa > detect_cpu_isa()) break;
    GoldenModel fp32(golden_path(GetParam()), DType::kF32, {.threads = 2, .max_isa = isa});
    expect_golden_logits(fp32.subject(), tiny_options(), GetParam(), kFp32Tolerance);
    GoldenModel bf16(golden_path(GetParam()), DType::kBF16, {.threads = 2, .max_isa = isa});
    expect_golden_logits_near(bf16.subject(), tiny_options(), GetParam(), kBf16Error);
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
