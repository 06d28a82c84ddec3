// Log-probabilities of given tokens: against the reference, and the same bits whatever the run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>

#include "model/json.h"
#include "offload/score_totals.h"
#include "tests/offload/golden_case.h"

namespace zerostream {
namespace {

GenerationRequest score_request(std::vector<int32_t> tokens) {
  GenerationRequest request;
  request.purpose = Purpose::kScore;
  request.prompt_tokens = std::move(tokens);
  return request;
}

RuntimeOptions score_options(PlacementKind placement = PlacementKind::kNvme) {
  RuntimeOptions options = tiny_options(placement);
  options.workload.scored = true;
  return options;
}

double logprob(const float* logits, int64_t vocab_size, int32_t token) {
  const double largest = *std::max_element(logits, logits + vocab_size);
  double sum = 0;
  for (int64_t i = 0; i < vocab_size; ++i) sum += std::exp(logits[i] - largest);
  return logits[token] - largest - std::log(sum);
}

std::vector<int32_t> whole_text(const GoldenPrompt& prompt) {
  std::vector<int32_t> tokens = prompt.token_ids;
  tokens.insert(tokens.end(), prompt.generated.begin(), prompt.generated.end());
  return tokens;
}

class GoldenScore : public testing::TestWithParam<std::string> {};

TEST_P(GoldenScore, MatchesTheReference) {
  GoldenModel model(golden_path(GetParam()), DType::kF32);
  const std::vector<GoldenPrompt> prompts = golden_prompts(GetParam());
  std::vector<GenerationRequest> requests;
  for (const GoldenPrompt& prompt : prompts) requests.push_back(score_request(whole_text(prompt)));
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, score_options());
  const std::vector<GenerationResult> results = generate_all(generator, requests);
  const int64_t vocab_size = model.store().config().vocab_size;
  int compared = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<int32_t>& tokens = requests[i].prompt_tokens;
    EXPECT_EQ(results[i].token_ids, tokens);
    ASSERT_EQ(results[i].prompt_logprobs.size(), tokens.size() - 1);
    for (size_t p = 0; p < prompts[i].positions.size(); ++p) {
      const size_t position = prompts[i].positions[p];
      if (position + 1 >= tokens.size()) continue;
      const float* logits = &prompts[i].logits[p * vocab_size];
      EXPECT_NEAR(results[i].prompt_logprobs[position],
                  logprob(logits, vocab_size, tokens[position + 1]), 2e-3)
          << "position " << position;
      ++compared;
    }
  }
  EXPECT_GT(compared, 0);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenScore, testing::ValuesIn(golden_names()), test_name);

// Rows to score, many of which begin alike, and between them rows that generate.
std::vector<GenerationRequest> mixed_requests(uint64_t seed, int count, int32_t vocab_size) {
  std::mt19937_64 random(seed);
  std::vector<GenerationRequest> requests(count);
  for (GenerationRequest& request : requests) {
    request.purpose = random() % 3 == 0 ? Purpose::kGenerate : Purpose::kScore;
    request.prompt_tokens.resize(1 + random() % 60);
    for (int32_t& token : request.prompt_tokens)
      token = static_cast<int32_t>(random() % vocab_size);
    std::fill_n(request.prompt_tokens.begin(), random() % (request.prompt_tokens.size() + 1), 5);
    request.max_new_tokens = static_cast<int32_t>(1 + random() % 12);
    request.sampling.logprobs = 2;
  }
  requests[0] = score_request({7});
  return requests;
}

std::vector<uint32_t> bits(const GenerationResult& result) {
  std::vector<uint32_t> all(result.token_ids.begin(), result.token_ids.end());
  const auto add = [&](float value) {
    all.emplace_back();
    std::memcpy(&all.back(), &value, sizeof value);
  };
  for (const float value : result.prompt_logprobs) add(value);
  for (const TokenScore& score : result.scores) add(score.chosen.logprob);
  return all;
}

struct Outcome {
  std::vector<std::vector<uint32_t>> rows;
  RunStatistics statistics;
};

Outcome outcome(GoldenModel& model, const RuntimeOptions& options,
                const std::vector<GenerationRequest>& requests) {
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
  Outcome outcome;
  for (const GenerationResult& result : generate_all(generator, requests)) {
    EXPECT_NE(result.reason, FinishReason::kError) << result.error_message;
    outcome.rows.push_back(bits(result));
  }
  outcome.statistics = generator.statistics();
  return outcome;
}

class ScoreInvariance : public testing::TestWithParam<const char*> {};

// Chunks, waves, depth, placement, sharing, other rows: the same bits.
TEST_P(ScoreInvariance, RowsDoNotDependOnAnythingElse) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    GoldenModel model(golden_path(GetParam()), dtype);
    const std::vector<GenerationRequest> requests =
        mixed_requests(11, 24, static_cast<int32_t>(model.store().config().vocab_size));
    RuntimeOptions alone = score_options(PlacementKind::kHost);
    alone.max_sequences = 1;
    const std::vector<std::vector<uint32_t>> expected = outcome(model, alone, requests).rows;
    EXPECT_EQ(expected[0], std::vector<uint32_t>{7});
    std::mt19937 random(4);
    for (int round = 0; round < 8; ++round) {
      RuntimeOptions options =
          score_options(random() % 3 == 0 ? PlacementKind::kHost : PlacementKind::kNvme);
      options.workload.scored = random() % 2 == 0;  // changes how many rows the head serves at once
      options.max_sequences = 1 + static_cast<int32_t>(random() % 12);
      options.token_budget = options.max_sequences + static_cast<int32_t>(random() % 60);
      options.prefetch_depth = static_cast<int32_t>(random() % 5);
      options.block_tokens = random() % 2 ? 16 : 5;
      options.share_prefixes = random() % 2 == 0;
      EXPECT_EQ(outcome(model, options, requests).rows, expected) << "round " << round;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ScoreInvariance, testing::Values("llama3", "gpt2", "opt-post"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Rows that are paused in the middle keep the scores that they have.
TEST(Score, SameBitsInTightMemory) {
  GoldenModel model(golden_path("llama3"), DType::kBF16);
  const auto vocab_size = static_cast<int32_t>(model.store().config().vocab_size);
  std::vector<GenerationRequest> requests = mixed_requests(12, 128, vocab_size);
  for (size_t i = 0; i < requests.size(); ++i) {
    GenerationRequest& request = requests[i];
    request.max_new_tokens = 40;
    if (i >= 64) continue;  // before them, outputs end at once: the wave expects little of others
    request.purpose = Purpose::kGenerate;
    request.stop_token_ids.resize(vocab_size);
    std::iota(request.stop_token_ids.begin(), request.stop_token_ids.end(), 0);
  }
  RuntimeOptions options = score_options();
  options.prefetch_depth = 2;
  options.block_tokens = 4;
  options.token_budget = 19;
  const std::vector<std::vector<uint32_t>> expected = outcome(model, options, requests).rows;
  {
    Generator roomy(model.store(), model.device(), model.kernels(), nullptr, options);
    options.host_memory = 0;
    for (const PoolBytes& pool : roomy.plan().pools)
      options.host_memory +=
          pool.name == "kv cache" ? pool.bytes / roomy.plan().max_sequences : pool.bytes;
  }
  const Outcome tight = outcome(model, options, requests);
  EXPECT_EQ(tight.rows, expected);
  EXPECT_GT(tight.statistics.paused_rows, 0);
}

TEST(Score, SameBitsWithKeysAndValuesOnStorage) {
  GoldenModel model(golden_path("llama3"), DType::kF32);
  const std::vector<GenerationRequest> requests =
      mixed_requests(13, 60, static_cast<int32_t>(model.store().config().vocab_size));
  RuntimeOptions options = score_options();
  options.max_sequences = 8;
  options.token_budget = 24;
  const std::vector<std::vector<uint32_t>> expected = outcome(model, options, requests).rows;
  options.kv_placement.kind = PlacementKind::kNvme;
  const Outcome stored = outcome(model, options, requests);
  EXPECT_EQ(stored.rows, expected);
  EXPECT_GT(stored.statistics.kv_bytes_written, 0);
}

TEST(Score, AgreesWithLogprobsOfGeneration) {
  GoldenModel model(golden_path("qwen3"), DType::kF32);
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, score_options());
  GenerationRequest request;
  request.prompt_tokens = {4, 8, 15, 16, 23, 42};
  request.max_new_tokens = 30;
  request.sampling.logprobs = 0;
  const GenerationResult generated = generate_all(generator, {request})[0];
  std::vector<int32_t> tokens = request.prompt_tokens;
  tokens.insert(tokens.end(), generated.token_ids.begin(), generated.token_ids.end());
  const GenerationResult scored = generate_all(generator, {score_request(tokens)})[0];
  const size_t first = request.prompt_tokens.size() - 1;
  ASSERT_EQ(generated.scores.size(), 30u);
  for (size_t i = 0; i < generated.scores.size(); ++i)
    EXPECT_NEAR(scored.prompt_logprobs[first + i], generated.scores[i].chosen.logprob, 1e-5);
}

TEST(Score, ComputesEveryPositionThatIsAsked) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  RuntimeOptions options = score_options();
  options.block_tokens = 4;
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
  const GenerationRequest row = score_request(std::vector<int32_t>(33, 9));
  const std::vector<GenerationResult> results = generate_all(generator, {row, row});
  EXPECT_EQ(bits(results[0]), bits(results[1]));
  const RunStatistics& statistics = generator.statistics();
  EXPECT_EQ(statistics.prompt_tokens, 2 * 32);  // the last token is only asked for
  EXPECT_EQ(statistics.reused_tokens, 0);
  EXPECT_EQ(statistics.generated_tokens, 0);
}

TEST(Score, RowsThatDoNotFitAreRefused) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, score_options());
  const auto context = static_cast<size_t>(generator.max_context());
  const std::vector<GenerationResult> results =
      generate_all(generator, {score_request(std::vector<int32_t>(context, 3)),
                               score_request(std::vector<int32_t>(context + 1, 3))});
  EXPECT_EQ(results[0].prompt_logprobs.size(), context - 1);
  EXPECT_EQ(results[1].error_code, "over_length");
  EXPECT_EQ(results[1].purpose, Purpose::kScore);
}

// A real model, whose head comes in several pieces.
TEST(SmolLM2, ScoresAreThoseOfItsLogits) {
  const std::string file = ZS_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(file))
    GTEST_SKIP() << file << " is absent: run scripts/get_model.sh";
  GoldenModel model(file, DType::kF32);
  const auto& segments = model.store().segments();
  EXPECT_GT(std::count_if(segments.begin(), segments.end(),
                          [](const Segment& segment) {
                            return segment.matrices[0].role == MatrixRole::kHead;
                          }),
            1);
  const Json expected = read_json_file(golden_path("smollm2") + "/expected.json");
  const auto tokens = expected.at("cases")[0].at("token_ids").get<std::vector<int32_t>>();
  RuntimeOptions options = score_options(PlacementKind::kHost);
  options.host_memory = int64_t{2} << 30;
  options.max_sequences = 4;
  options.token_budget = 7;
  std::vector<float> logits;
  {
    ModelRuntime runtime(model.store(), model.device(), model.kernels(), options);
    std::vector<int32_t> positions(tokens.size() - 1);
    std::iota(positions.begin(), positions.end(), 0);
    logits = compute_logits(runtime, model.device(), tokens, positions, 4);
  }
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
  const GenerationResult scored = generate_all(generator, {score_request(tokens)})[0];
  ASSERT_EQ(scored.prompt_logprobs.size(), tokens.size() - 1);
  const int64_t vocab_size = model.store().config().vocab_size;
  for (size_t i = 0; i + 1 < tokens.size(); ++i)
    EXPECT_NEAR(scored.prompt_logprobs[i],
                logprob(&logits[i * vocab_size], vocab_size, tokens[i + 1]), 1e-4)
        << "position " << i;
}

TEST(ScoreTotals, AddUpRowsWithoutErrors) {
  ScoreTotals totals;
  EXPECT_TRUE(totals.json()["perplexity"].is_null());
  totals.add_line(R"({"sum_logprob": -6.0, "usage": {"prompt_tokens": 4}})");
  totals.add_line(R"({"finish_reason": "error", "error": {"code": "too_long", "message": ""}})");
  totals.add_line(R"({"sum_logprob": 0.0, "usage": {"prompt_tokens": 1}})");
  totals.add_line(R"({"sum_logprob": -2.0, "usage": {"prompt_tokens": 2}})");
  EXPECT_EQ(totals.tokens, 4);
  EXPECT_DOUBLE_EQ(totals.json()["perplexity"].get<double>(), std::exp(2.0));
}

}  // namespace
}  // namespace zerostream
