#include "offload/wave.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "base/tensor.h"

namespace zerostream {
namespace {

constexpr int32_t kBlockTokens = 4;
constexpr int32_t kVocabulary = 50;

uint64_t mix(uint64_t state, uint64_t value) {
  state = (state ^ value) * 0x9e3779b97f4a7c15;
  return state ^ state >> 29;
}

int32_t draw(uint64_t state, uint64_t seed) {
  return static_cast<int32_t>(mix(state, seed) % kVocabulary);
}

// A model whose "key" of a position is a digest of the row up to it, made from the key before as
// read through the block table. A wrong, lost or early overwritten block changes the next token.
class FakeModel {
 public:
  explicit FakeModel(int64_t blocks) : cells_(blocks * kBlockTokens) {}

  std::vector<SampleResult> run(const PassBatch& batch, const std::vector<SampleRow>& samples) {
    std::vector<uint64_t> row_states(batch.tokens.size());
    std::set<int64_t> written;
    for (const SequenceSpan& span : batch.sequences)
      for (int32_t i = 0; i < span.rows; ++i) {
        const int32_t position = span.position_begin + i;
        EXPECT_EQ(batch.positions[span.row_begin + i], position);
        const uint64_t before = position == 0 ? 0 : cells_.at(cell(span, position - 1));
        EXPECT_TRUE(written.insert(cell(span, position)).second) << "written twice in a pass";
        cells_.at(cell(span, position)) = row_states[span.row_begin + i] =
            mix(before, batch.tokens[span.row_begin + i] + 1);
      }
    EXPECT_EQ(samples.size(), batch.logit_rows.size());
    std::vector<SampleResult> results(samples.size());
    for (size_t i = 0; i < results.size(); ++i)
      results[i].token = draw(row_states[batch.logit_rows[i]], samples[i].seed);
    return results;
  }
  // What the row generates whatever runs beside it.
  static std::vector<int32_t> alone(const GenerationRequest& request, int64_t max_context) {
    const std::vector<int32_t>& stops = request.stop_token_ids;
    std::vector<int32_t> output;
    uint64_t state = 0;
    for (const int32_t token : request.prompt_tokens) state = mix(state, token + 1);
    const auto most = std::min<int64_t>(
        request.max_new_tokens, max_context - static_cast<int64_t>(request.prompt_tokens.size()));
    while (static_cast<int64_t>(output.size()) < most) {
      output.push_back(draw(state, request.seed));
      if (std::count(stops.begin(), stops.end(), output.back()) > 0) break;
      state = mix(state, output.back() + 1);
    }
    return output;
  }

 private:
  static int64_t cell(const SequenceSpan& span, int32_t position) {
    return int64_t{span.block_table[position / kBlockTokens]} * kBlockTokens +
           position % kBlockTokens;
  }
  std::vector<uint64_t> cells_;
};

// A wave over `blocks` KV blocks of 4 positions, fed from `requests_`.
class WaveTest : public testing::Test {
 protected:
  void start(int64_t blocks, WaveLimits limits) {
    limits_ = limits;
    wave_.reset();
    kv_.emplace(blocks, kBlockTokens);
    model_.emplace(blocks);
    wave_.emplace(*kv_, nullptr, limits);
    client_.next = [this](bool) -> std::optional<GenerationRequest> {
      if (next_ == requests_.size()) return std::nullopt;
      arrived_.push_back(next_);
      requests_[next_].handle = next_;
      return requests_[next_++];
    };
    client_.on_token = [this](uint64_t handle, const TokenScore& score) {
      reported_[handle].push_back(score.chosen.token);
    };
    client_.on_result = [this](GenerationResult result) {
      std::erase(arrived_, result.handle);
      results_[result.handle] = std::move(result);
    };
  }
  void add(int prompt_tokens, int max_new_tokens) {
    GenerationRequest request;
    request.prompt_tokens.assign(prompt_tokens, 1);
    request.max_new_tokens = max_new_tokens;
    request.seed = requests_.size();
    requests_.push_back(request);
  }
  // One pass; tokens per sequence, in order.
  std::vector<int32_t> pass() {
    wave_->refill(client_);
    const PassCounts counts = wave_->compose(batch_, samples_);
    totals_.prompt_tokens += counts.prompt_tokens;
    totals_.reused_tokens += counts.reused_tokens;
    totals_.paused_rows += counts.paused_rows;
    ++passes_;
    row_passes_ += static_cast<int64_t>(batch_.sequences.size());
    check_batch();
    wave_->collect(model_->run(batch_, samples_), {}, client_);
    std::vector<int32_t> tokens;
    for (const SequenceSpan& span : batch_.sequences) tokens.push_back(span.rows);
    return tokens;
  }
  // The rows of a pass are those that arrived first and have not ended, in that order.
  void check_batch() {
    EXPECT_LE(static_cast<int32_t>(batch_.tokens.size()), limits_.token_budget);
    EXPECT_LE(static_cast<int32_t>(batch_.sequences.size()), limits_.max_sequences);
    ASSERT_GE(batch_.sequences.size(), 1u);
    size_t sample = 0;
    for (size_t i = 0; i < batch_.sequences.size(); ++i) {
      const SequenceSpan& span = batch_.sequences[i];
      if (sample == samples_.size()) break;
      if (batch_.logit_rows[sample] >= span.row_begin + span.rows) continue;
      EXPECT_EQ(samples_[sample].seed, requests_[arrived_.at(i)].seed) << "pass " << passes_;
      ++sample;
    }
    EXPECT_EQ(sample, samples_.size());
  }
  void finish() {
    const size_t most = passes_ + 100'000;
    while (results_.size() < requests_.size() && passes_ < most && !HasFailure()) pass();
    for (size_t i = 0; i < requests_.size(); ++i) {
      std::vector<int32_t> expected = FakeModel::alone(requests_[i], limits_.max_context);
      EXPECT_EQ(results_[i].token_ids, expected) << "row " << i;
      if (results_[i].ends_with_stop_token) expected.pop_back();
      EXPECT_EQ(reported_[i], expected) << "each token is reported once";
    }
    EXPECT_EQ(kv_->available(), kv_->num_blocks());
  }

  WaveLimits limits_;
  std::optional<KvBlocks> kv_;
  std::optional<FakeModel> model_;
  std::optional<Wave> wave_;
  GenerationClient client_;
  std::vector<GenerationRequest> requests_;
  std::deque<uint64_t> arrived_;  // not ended
  size_t next_ = 0;
  std::map<uint64_t, GenerationResult> results_;
  std::map<uint64_t, std::vector<int32_t>> reported_;
  PassCounts totals_;
  size_t passes_ = 0;
  int64_t row_passes_ = 0;
  PassBatch batch_;
  std::vector<SampleRow> samples_;
};

TEST_F(WaveTest, PromptsAreChunkedBesideDecodingRows) {
  start(100, {.max_sequences = 3, .token_budget = 8, .max_context = 64, .share_prefixes = false});
  add(5, 4);
  add(9, 2);
  add(2, 1);
  EXPECT_EQ(pass(), (std::vector<int32_t>{5, 3}));  // the second prompt starts, 8 tokens in all
  EXPECT_EQ(pass(),
            (std::vector<int32_t>{1, 6, 1}));  // first decodes; second's last 6; one of the third
  EXPECT_EQ(pass(), (std::vector<int32_t>{1, 1, 1}));
  EXPECT_EQ(pass(), (std::vector<int32_t>{1}));
  EXPECT_EQ(totals_.prompt_tokens, 16);
  finish();
}

TEST_F(WaveTest, RowsWaitForMemoryInOrder) {
  start(4, {.max_sequences = 8, .token_budget = 64, .max_context = 16, .share_prefixes = false});
  add(7, 1);   // 2 blocks
  add(11, 1);  // 3 blocks: waits for the first
  add(3, 1);   // would fit, but comes after
  EXPECT_EQ(pass().size(), 1u);
  EXPECT_EQ(pass(), (std::vector<int32_t>{11, 3}));
  finish();
}

TEST_F(WaveTest, ResultsSayWhyRowsEnded) {
  start(100, {.max_sequences = 8, .token_budget = 64, .max_context = 12});
  add(3, 50);
  add(3, 50);
  add(12, 1);
  const std::vector<int32_t> output = FakeModel::alone(requests_[1], limits_.max_context);
  requests_[1].stop_token_ids = {output[2]};
  while (results_.size() < 3) pass();
  EXPECT_EQ(results_[0].reason, FinishReason::kLength) << "the context is full";
  EXPECT_EQ(results_[0].token_ids.size(), 9u);
  EXPECT_EQ(results_[1].reason, FinishReason::kStop);
  EXPECT_TRUE(results_[1].ends_with_stop_token);
  EXPECT_EQ(results_[1].token_ids, std::vector<int32_t>(output.begin(), output.begin() + 3));
  EXPECT_EQ(results_[2].reason, FinishReason::kError);
  EXPECT_EQ(results_[2].error_code, "over_length");
}

TEST_F(WaveTest, CancelledRowsLeave) {
  start(10, {.max_sequences = 8, .token_budget = 64, .max_context = 32});
  add(3, 29);
  add(3, 29);  // waits for memory
  client_.cancelled = [](uint64_t) { return true; };
  pass();
  EXPECT_EQ(results_[0].reason, FinishReason::kCancelled);
  EXPECT_EQ(results_[1].reason, FinishReason::kCancelled);
  EXPECT_EQ(kv_->available(), 10);
}

TEST_F(WaveTest, RowsHoldMemoryForTokensThatExist) {
  start(16, {.max_sequences = 8, .token_budget = 64, .max_context = 64, .share_prefixes = false});
  add(4, 60);
  pass();
  EXPECT_EQ(kv_->available(), 15);
  pass();
  EXPECT_EQ(kv_->available(), 14);
  for (int i = 0; i < 3; ++i) pass();
  EXPECT_EQ(kv_->available(), 14);
  finish();
}

TEST_F(WaveTest, EqualBeginningsAreComputedOnceInTheVeryPass) {
  start(300, {.max_sequences = 20, .token_budget = 256, .max_context = 64});
  for (int i = 0; i < 20; ++i) add(41, 6);
  EXPECT_EQ(pass()[0], 41);
  EXPECT_EQ(totals_.prompt_tokens, 41 + 19 * 1);
  EXPECT_EQ(totals_.reused_tokens, 19 * 40);
  EXPECT_EQ(300 - kv_->available(), 10 + 20);
  finish();
}

TEST_F(WaveTest, BeginningsOutliveTheirRows) {
  start(30, {.max_sequences = 1, .token_budget = 256, .max_context = 64});
  for (int i = 0; i < 5; ++i) add(30, 10);
  finish();
  EXPECT_EQ(totals_.prompt_tokens, 30 + 4 * 2);
  EXPECT_EQ(totals_.reused_tokens, 4 * 28);
}

TEST_F(WaveTest, SharedRowsJoinWhereWholeOnesWouldNotFit) {
  start(30, {.max_sequences = 12, .token_budget = 256, .max_context = 80});
  for (int i = 0; i < 12; ++i) add(66, 3);  // 17 blocks, one of them its own
  pass();
  EXPECT_EQ(pass().size(), 12u);
  finish();
}

TEST_F(WaveTest, WithoutSharingEachComputesItsOwn) {
  start(400,
        {.max_sequences = 20, .token_budget = 900, .max_context = 64, .share_prefixes = false});
  for (int i = 0; i < 20; ++i) add(41, 6);
  finish();
  EXPECT_EQ(totals_.prompt_tokens, 20 * 41);
  EXPECT_EQ(totals_.reused_tokens, 0);
}

TEST_F(WaveTest, APassThatWasNotCollectedLeavesNothingKnown) {
  start(100, {.max_sequences = 8, .token_budget = 64, .max_context = 64});
  add(20, 4);
  wave_->refill(client_);
  wave_->compose(batch_, samples_);
  wave_.emplace(*kv_, nullptr, limits_);
  EXPECT_EQ(kv_->available(), 100);
  std::vector<int32_t> blocks;
  EXPECT_EQ(kv_->extend_by_known(requests_[0].prompt_tokens, blocks), 0);
}

// Rows that run to their limit are never paused, however tight the memory.
TEST_F(WaveTest, FullOutputsAreForeseen) {
  start(40, {.max_sequences = 16, .token_budget = 64, .max_context = 100, .share_prefixes = false});
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) add(1 + random() % 30, 1 + random() % 60);
  finish();
  EXPECT_EQ(totals_.paused_rows, 0);
}

// Rows that end early fill the memory that reservation would leave empty.
TEST_F(WaveTest, EarlyEndsFillTheMemory) {
  constexpr int64_t kBlocks = 120;
  start(kBlocks, {.max_sequences = 64, .token_budget = 256, .max_context = 400});
  for (int i = 0; i < 600; ++i) {
    add(8, 300);
    requests_.back().stop_token_ids = {0};
  }
  finish();
  const int64_t reserved_rows = kBlocks / kv_->blocks_for(8 + 300 - 1);
  const double mean_rows = static_cast<double>(row_passes_) / static_cast<double>(passes_);
  EXPECT_GT(mean_rows, 3.0 * static_cast<double>(reserved_rows));
  EXPECT_LT(totals_.paused_rows, 60) << "one in ten";
}

// Short rows teach the wave that outputs are short; then long ones come.
TEST_F(WaveTest, PausedRowsResume) {
  for (const bool share : {false, true}) {
    requests_.clear(), results_.clear(), reported_.clear();
    totals_ = {}, next_ = 0;
    start(60,
          {.max_sequences = 40, .token_budget = 64, .max_context = 200, .share_prefixes = share});
    for (int i = 0; i < 70; ++i) {
      add(2, 100);
      const auto output = FakeModel::alone(requests_.back(), limits_.max_context);
      requests_.back().stop_token_ids = {output[0]};
    }
    while (results_.size() < 70) pass();
    requests_.erase(requests_.begin(), requests_.begin() + 70);
    results_.clear(), reported_.clear(), arrived_.clear();
    next_ = 0;
    for (int i = 0; i < 40; ++i) add(9, 100);
    finish();
    EXPECT_GT(totals_.paused_rows, 3);
    EXPECT_LT(totals_.prompt_tokens, 40 * 9 + 140 + totals_.paused_rows * 60);
  }
}

// One block is missing for long: the last row waits with what it has instead of being computed
// anew, over and over.
TEST_F(WaveTest, OneBlockShortCostsLittle) {
  start(25, {.max_sequences = 2, .token_budget = 32, .max_context = 100, .share_prefixes = false});
  for (int i = 0; i < 70; ++i) {
    add(1, 90);
    requests_.back().stop_token_ids = {FakeModel::alone(requests_.back(), 100)[0]};
  }
  while (results_.size() < 70) pass();
  requests_.erase(requests_.begin(), requests_.begin() + 70);
  results_.clear(), reported_.clear(), arrived_.clear();
  next_ = 0;
  totals_ = {};
  add(1, 96);
  add(1, 96);
  finish();
  EXPECT_LE(totals_.paused_rows, 2);
  EXPECT_LT(totals_.prompt_tokens, 2 + 2 * 96);
}

GenerationRequest random_request(std::mt19937& random, int64_t max_context, int stop_tokens) {
  GenerationRequest request;
  const int64_t longest = std::max<int64_t>(1, (max_context - 1) / (1 + random() % 4));
  const auto prompt = 1 + random() % longest;
  const auto shared = random() % 3 == 0 ? 0 : random() % (prompt + 1);
  const auto family = static_cast<int32_t>(random() % 3);
  for (size_t i = 0; i < prompt; ++i)
    request.prompt_tokens.push_back(i < shared ? family
                                               : static_cast<int32_t>(random() % kVocabulary));
  request.max_new_tokens = static_cast<int32_t>(1 + random() % max_context);
  for (int token = 0; token < stop_tokens; ++token) request.stop_token_ids.push_back(token);
  request.seed = random();
  return request;
}

// Whatever comes, in however little memory: every row ends with the tokens that it has alone, the
// rows of a pass are the oldest ones, no limit is exceeded, and all blocks come back.
TEST_F(WaveTest, RandomJobsInLittleMemory) {
  std::mt19937 random(7);
  for (int round = 0; round < 600 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    requests_.clear(), results_.clear(), reported_.clear();
    next_ = 0;
    const auto context = static_cast<int64_t>(2 + random() % 80);
    const auto sequences = static_cast<int32_t>(1 + random() % 20);
    const int64_t blocks = ceil_div(context, kBlockTokens) + static_cast<int64_t>(random() % 20);
    const auto budget = sequences + static_cast<int32_t>(random() % 40);
    start(blocks, {sequences, budget, context, random() % 4 != 0});
    const size_t rows = 1 + random() % 150;  // the later ones are longer than those before promise
    while (requests_.size() < rows)
      requests_.push_back(random_request(random, context, requests_.size() < 80 ? 20 : 1));
    finish();
  }
  EXPECT_GT(totals_.paused_rows, 300);
  EXPECT_GT(totals_.reused_tokens, 3000);
}

}  // namespace
}  // namespace zerostream
