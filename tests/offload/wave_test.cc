#include "offload/wave.h"

#include <gtest/gtest.h>

#include <map>

#include "cpu/cpu_device.h"

namespace zerostream {
namespace {

ModelConfig tiny_config() {
  ModelConfig config;
  config.num_hidden_layers = 1;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  return config;
}

// A wave over `blocks` KV blocks of 4 positions, and passes that draw the token 100 + position, or
// 7 at `stop_position`.
class WaveTest : public testing::Test {
 protected:
  void start(int64_t blocks, WaveLimits limits) {
    kv_.emplace(tiny_config(), DType::kF32, 4, blocks, device_);
    wave_.emplace(*kv_, nullptr, limits);
    client_.next = [this](bool) -> std::optional<GenerationRequest> {
      if (next_ == requests_.size()) return std::nullopt;
      requests_[next_].handle = next_;
      return requests_[next_++];
    };
    client_.on_result = [this](GenerationResult result) {
      results_[result.handle] = std::move(result);
    };
  }
  void add(int prompt_tokens, int max_new_tokens) {
    GenerationRequest request;
    request.prompt_tokens.assign(prompt_tokens, 1);
    request.max_new_tokens = max_new_tokens;
    requests_.push_back(request);
  }
  // One pass; tokens per sequence, in order.
  std::vector<int32_t> pass(int32_t stop_position = -1) {
    wave_->refill(client_);
    wave_->compose(batch_, samples_);
    std::vector<SampleResult> drawn(samples_.size());
    for (size_t i = 0; i < drawn.size(); ++i)
      drawn[i].token = samples_[i].position == stop_position ? 7 : 100 + samples_[i].position;
    wave_->collect(drawn, client_);
    std::vector<int32_t> tokens;
    for (const SequenceSpan& span : batch_.sequences) tokens.push_back(span.rows);
    return tokens;
  }

  CpuDevice device_{{.threads = 1}};
  std::optional<KvPool> kv_;
  std::optional<Wave> wave_;
  GenerationClient client_;
  std::vector<GenerationRequest> requests_;
  size_t next_ = 0;
  std::map<uint64_t, GenerationResult> results_;
  PassBatch batch_;
  std::vector<SampleRow> samples_;
};

TEST_F(WaveTest, PromptsAreChunkedBesideDecodingRows) {
  start(100, {.max_sequences = 3, .token_budget = 8, .max_context = 64});
  add(5, 4);
  add(9, 2);
  add(2, 1);
  EXPECT_EQ(pass(), (std::vector<int32_t>{5, 3}));  // the second prompt starts, 8 tokens in all
  EXPECT_EQ(pass(),
            (std::vector<int32_t>{1, 6, 1}));  // first decodes; second's last 6; one of the third
  EXPECT_EQ(pass(), (std::vector<int32_t>{1, 1, 1}));
  EXPECT_EQ(pass(), (std::vector<int32_t>{1}));
  EXPECT_EQ(results_[0].token_ids, (std::vector<int32_t>{105, 106, 107, 108}));
  EXPECT_EQ(results_[1].token_ids, (std::vector<int32_t>{109, 110}));
  EXPECT_EQ(results_[2].token_ids, (std::vector<int32_t>{102}));
  EXPECT_EQ(kv_->free_blocks(), 100);
}

TEST_F(WaveTest, RowsWaitForMemoryInOrder) {
  start(4, {.max_sequences = 8, .token_budget = 64, .max_context = 16});
  add(7, 1);   // 2 blocks
  add(11, 1);  // 3 blocks: waits for the first
  add(3, 1);   // would fit, but comes after
  EXPECT_EQ(pass().size(), 1u);
  EXPECT_EQ(pass(), (std::vector<int32_t>{11, 3}));
  EXPECT_EQ(results_.size(), 3u);
}

TEST_F(WaveTest, ResultsSayWhyRowsEnded) {
  start(100, {.max_sequences = 8, .token_budget = 64, .max_context = 12});
  add(3, 50);
  add(3, 50);
  add(12, 1);
  requests_[1].stop_token_ids = {7};
  while (results_.size() < 3) pass(5);
  EXPECT_EQ(results_[0].reason, FinishReason::kLength) << "the context is full";
  EXPECT_EQ(results_[0].token_ids.size(), 9u);
  EXPECT_EQ(results_[1].reason, FinishReason::kStop);
  EXPECT_TRUE(results_[1].ends_with_stop_token);
  EXPECT_EQ(results_[1].token_ids, (std::vector<int32_t>{103, 104, 7}));
  EXPECT_EQ(results_[2].reason, FinishReason::kError);
  EXPECT_EQ(results_[2].error_code, "over_length");
}

TEST_F(WaveTest, CancelledRowsLeave) {
  start(100, {.max_sequences = 8, .token_budget = 64, .max_context = 32});
  add(3, 20);
  client_.cancelled = [](uint64_t) { return true; };
  pass();
  EXPECT_EQ(results_[0].reason, FinishReason::kCancelled);
  EXPECT_EQ(kv_->free_blocks(), 100);
}

}  // namespace
}  // namespace zerostream
