#include "tests/offload/golden_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/require.h"
#include "model/checkpoint.h"
#include "model/json.h"

namespace zerostream {
namespace {

std::vector<float> floats_from_base64(const std::string& text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    group = group << 6 | static_cast<uint32_t>(kAlphabet.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(group >> bits & 0xff));
  }
  std::vector<float> floats(bytes.size() / 4);
  std::memcpy(floats.data(), bytes.data(), floats.size() * 4);
  return floats;
}

std::vector<int32_t> whole_text(const GoldenPrompt& prompt) {
  std::vector<int32_t> tokens = prompt.token_ids;
  tokens.insert(tokens.end(), prompt.generated.begin(), prompt.generated.end());
  return tokens;
}

// Calls check(actual logits, expected ones).
template <typename Check>
void for_each_prompt(const GoldenSubject& subject, const RuntimeOptions& options,
                     const std::string& name, const Check& check) {
  ModelRuntime runtime(subject.store, subject.device, subject.kernels, options);
  for (const GoldenPrompt& prompt : golden_prompts(name))
    check(compute_logits(runtime, subject.device, whole_text(prompt), prompt.positions, 64),
          prompt.logits);
}

}  // namespace

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ZS_TEST_DATA))
    if (std::filesystem::exists(entry.path() / "config.json"))
      names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string golden_path(const std::string& name) { return std::string(ZS_TEST_DATA) + "/" + name; }

std::vector<GoldenPrompt> golden_prompts(const std::string& name) {
  std::vector<GoldenPrompt> prompts;
  const Json expected = read_json_file(golden_path(name) + "/expected.json");
  for (const Json& value : expected.at("cases"))
    prompts.push_back({value.at("token_ids"), value.at("generated"), value.at("positions"),
                       floats_from_base64(value.at("logits"))});
  return prompts;
}

GoldenModel::GoldenModel(const std::string& path, std::optional<DType> dtype,
                         CpuDeviceOptions device)
    : GoldenModel(path, PackOptions{.dtype = dtype}, device) {}

GoldenModel::GoldenModel(const std::string& path, const PackOptions& options,
                         CpuDeviceOptions device) {
  pack_store(Checkpoint::open(path), folder(), options);
  store_ = PackedStore::open(folder());
  device_ = std::make_unique<CpuDevice>(device);
  kernels_ = std::make_unique<CpuKernels>(*device_, store_->config().vocab_size);
}

RuntimeOptions tiny_options(PlacementKind placement) {
  RuntimeOptions options;
  options.placement.kind = placement;
  options.host_memory = int64_t{256} << 20;
  options.max_sequences = 16;
  options.token_budget = 64;
  return options;
}

std::vector<GenerationResult> generate_all(Generator& generator,
                                           std::vector<GenerationRequest> requests) {
  std::vector<GenerationResult> results(requests.size());
  size_t next = 0;
  GenerationClient client;
  client.next = [&](bool) -> std::optional<GenerationRequest> {
    if (next == requests.size()) return std::nullopt;
    requests[next].handle = next;
    return requests[next++];
  };
  client.on_result = [&](GenerationResult result) { results[result.handle] = std::move(result); };
  generator.run(client, std::atomic<bool>(false));
  return results;
}

std::vector<GenerationRequest> random_requests(uint64_t seed, int count, int32_t vocab_size) {
  std::mt19937_64 random(seed);
  std::vector<GenerationRequest> requests(count);
  for (GenerationRequest& request : requests) {
    request.prompt_tokens.resize(1 + random() % 30);
    for (int32_t& token : request.prompt_tokens)
      token = static_cast<int32_t>(random() % vocab_size);
    request.max_new_tokens = static_cast<int32_t>(1 + random() % 12);
    request.seed = random();
    request.sampling.temperature = random() % 2 ? 0.0f : 0.8f;
    request.sampling.logprobs = 3;
  }
  return requests;
}

std::vector<uint32_t> text_bits(const GenerationResult& result) {
  std::vector<uint32_t> all(result.token_ids.begin(), result.token_ids.end());
  for (const TokenScore& score : result.scores) {
    uint32_t pattern;
    std::memcpy(&pattern, &score.chosen.logprob, 4);
    all.push_back(pattern);
    for (const TokenLogprob& top : score.top) {
      std::memcpy(&pattern, &top.logprob, 4);
      all.push_back(static_cast<uint32_t>(top.token));
      all.push_back(pattern);
    }
  }
  return all;
}

std::vector<float> compute_logits(ModelRuntime& runtime, Device& device,
                                  const std::vector<int32_t>& tokens,
                                  const std::vector<int32_t>& positions, int32_t chunk) {
  const std::unique_ptr<Stream> stream = device.make_copy_stream();
  KvBlocks& kv = runtime.kv_blocks();
  std::vector<int32_t> blocks(kv.blocks_for(static_cast<int64_t>(tokens.size())));
  for (int32_t& block : blocks) block = kv.take();
  std::vector<float> logits;
  for (int32_t begin = 0; begin < static_cast<int32_t>(tokens.size()); begin += chunk) {
    const int32_t count = std::min<int32_t>(chunk, static_cast<int32_t>(tokens.size()) - begin);
    PassBatch batch;
    batch.sequences.push_back({0, count, begin, blocks.data()});
    for (int32_t i = begin; i < begin + count; ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(i);
      if (std::find(positions.begin(), positions.end(), i) != positions.end())
        batch.logit_rows.push_back(i - begin);
    }
    const std::vector<SampleRow> rows(batch.logit_rows.size());
    std::vector<SampleResult> results(rows.size());
    runtime.scheduler().run(batch, rows.data(), results.data());
    const TensorView view = runtime.scheduler().logits();
    for (size_t i = 0; i < rows.size(); ++i) {
      logits.resize(logits.size() + static_cast<size_t>(view.cols));
      stream->copy(logits.data() + logits.size() - view.cols, view.row(static_cast<int64_t>(i)),
                   view.cols * int64_t{sizeof(float)});
      stream->synchronize();
    }
  }
  kv.release(blocks);
  return logits;
}

void expect_golden_logits(const GoldenSubject& subject, const RuntimeOptions& options,
                          const std::string& name, double tolerance) {
  for_each_prompt(subject, options, name, [&](const auto& actual, const auto& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    double largest = 0, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
      const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
      if (!(error <= worst)) worst = error;  // NaN counts
    }
    EXPECT_LE(worst, tolerance * largest);
  });
}

void expect_golden_logits_near(const GoldenSubject& subject, const RuntimeOptions& options,
                               const std::string& name, double bound) {
  for_each_prompt(subject, options, name, [&](const auto& actual, const auto& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    double error = 0, power = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
      power += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_LE(error / power, bound) << dtype_name(subject.store.layout().dtype);
  });
}

void expect_golden_text(const GoldenSubject& subject, const RuntimeOptions& options,
                        const std::string& name) {
  Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
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

}  // namespace zerostream
