#include "offload/wave.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/require.h"
#include "offload/stop_strings.h"

namespace zerostream {

struct Wave::Row {
  GenerationRequest request;
  // Prompt and output. Capacity for all of them, as for blocks, so that the addresses stay.
  std::vector<int32_t> tokens;
  int64_t max_tokens = 0;
  std::vector<int32_t> blocks;
  int32_t computed = 0;  // tokens whose keys and values are in the blocks
  int32_t in_pass = 0;   // tokens of this row in the composed pass
  std::optional<StopStrings> stop_strings;
  GenerationResult result;
  bool ended = false;

  int32_t prompt_tokens() const { return static_cast<int32_t>(request.prompt_tokens.size()); }
  int32_t generated() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens(); }
  bool scored() const { return request.purpose == Purpose::kScore; }
  // Nothing comes after the last token of a scored row.
  int32_t pending() const { return static_cast<int32_t>(tokens.size()) - computed - scored(); }
  // Positions from the composed pass whose next token is yet to be scored.
  int32_t scores_in_pass() const {
    return std::max(0, computed + in_pass - static_cast<int32_t>(result.prompt_logprobs.size()));
  }
  bool decoding() const { return generated() > 0 && pending() == 1; }
};

Wave::Wave(KvBlocks& kv, const Tokenizer* tokenizer, const WaveLimits& limits)
    : kv_(kv), tokenizer_(tokenizer), limits_(limits) {
  require(limits.token_budget >= limits.max_sequences,
          "every decoding row has its token in every pass");
  require(kv.blocks_for(limits.max_context) <= kv.num_blocks(), "a row alone has room");
}

Wave::~Wave() {
  for (const auto& row : rows_) let_go(*row);
  if (in_pass_) kv_.forget();
}

void Wave::refill(const GenerationClient& client) {
  while (size() < limits_.max_sequences) {
    if (waiting_.empty()) {
      std::optional<GenerationRequest> request = client.next(rows_.empty());
      if (!request) return;
      std::unique_ptr<Row> row = accept(std::move(*request), client);
      if (!row) continue;
      waiting_.push_back(std::move(row));
    }
    if (!join(waiting_.front())) return;
    waiting_.pop_front();
  }
}

// Null if the request can never run.
std::unique_ptr<Wave::Row> Wave::accept(GenerationRequest request, const GenerationClient& client) {
  const auto refuse = [&](const char* code, std::string message) {
    GenerationResult result;
    result.handle = request.handle;
    result.purpose = request.purpose;
    result.reason = FinishReason::kError;
    result.error_code = code;
    result.error_message = std::move(message);
    client.on_result(std::move(result));
    return nullptr;
  };
  const bool scored = request.purpose == Purpose::kScore;
  const auto prompt = static_cast<int64_t>(request.prompt_tokens.size());
  if (scored && prompt > limits_.max_context)
    return refuse("over_length", std::to_string(prompt) + " tokens do not fit into " +
                                     std::to_string(limits_.max_context) + " positions");
  if (!scored && prompt >= limits_.max_context)
    return refuse("over_length", "the prompt's " + std::to_string(prompt) +
                                     " tokens leave no room for output in " +
                                     std::to_string(limits_.max_context) + " positions");
  if (!request.stop_strings.empty() && tokenizer_ == nullptr)
    return refuse("no_tokenizer", "stop strings need a tokenizer, which this model lacks");

  auto row = std::make_unique<Row>();
  row->request = std::move(request);
  row->max_tokens =
      std::min(prompt + (scored ? 0 : row->request.max_new_tokens), limits_.max_context);
  row->tokens.reserve(row->max_tokens);
  row->tokens = row->request.prompt_tokens;
  row->blocks.reserve(kv_.blocks_for(row->max_tokens));
  if (!row->request.stop_strings.empty())
    row->stop_strings.emplace(*tokenizer_, row->request.stop_strings);
  row->result.handle = row->request.handle;
  row->result.purpose = row->request.purpose;
  if (scored) row->result.prompt_logprobs.reserve(prompt - 1);
  if (row->pending() > 0) return row;
  end(*row, FinishReason::kLength);  // a single token to score
  client.on_result(std::move(row->result));
  return nullptr;
}

// False, and the row stays where it is, if it must wait for KV blocks.
bool Wave::join(std::unique_ptr<Row>& row) {
  const int64_t reused_before = counts_.reused_tokens;
  reuse_known(*row);
  int64_t growth = expected_growth(*row);
  for (const auto& active : rows_) growth += expected_growth(*active);
  if (!rows_.empty() && growth > kv_.available()) {
    let_go(*row);
    counts_.reused_tokens = reused_before;
    return false;
  }
  rows_.push_back(std::move(row));
  return true;
}

// Blocks that the row is expected to take yet: at least one, unless it has all that it may need.
int64_t Wave::expected_growth(const Row& row) const {
  const auto held = static_cast<int64_t>(row.blocks.size());
  const auto tokens = static_cast<int64_t>(row.tokens.size());
  const auto left = static_cast<double>(row.max_tokens - tokens);
  const auto output = static_cast<int64_t>(std::ceil(left * output_share_.expected()));
  const int64_t expected = kv_.blocks_for(tokens + output - 1);  // the last one is not fed back
  return std::min(kv_.blocks_for(row.max_tokens - 1), std::max(expected, held + 1)) - held;
}

void Wave::reuse_known(Row& row) {
  const auto covered = static_cast<int32_t>(row.blocks.size()) * kv_.block_tokens();
  if (!limits_.share_prefixes || row.scored() || row.computed != covered) return;
  row.computed = static_cast<int32_t>(kv_.extend_by_known(row.tokens, row.blocks));
  counts_.reused_tokens += row.computed - covered;
}

PassCounts Wave::compose(PassBatch& batch, std::vector<SampleRow>& sample_rows) {
  batch.clear();
  sample_rows.clear();
  in_pass_ = true;
  int32_t budget = limits_.token_budget;
  for (const auto& row : rows_) budget -= row->decoding();
  for (size_t i = 0; i < rows_.size(); ++i) {  // those behind may be paused on the way
    Row& row = *rows_[i];
    if (row.decoding()) {
      row.in_pass = make_room(row, 1);
    } else {
      reuse_known(row);
      row.in_pass = make_room(row, std::min(budget, row.pending()));
      budget -= row.in_pass;
      counts_.prompt_tokens += row.in_pass;
    }
    if (row.in_pass > 0) add_span(row, batch, sample_rows);
  }
  return std::exchange(counts_, {});
}

// Takes blocks for the row's next tokens. Returns for how many there is room; none only for the row
// that arrived last.
int32_t Wave::make_room(Row& row, int32_t tokens) {
  const auto room = [&] {
    return static_cast<int32_t>(row.blocks.size()) * kv_.block_tokens() - row.computed;
  };
  while (room() < tokens) {
    if (kv_.available() > 0)
      row.blocks.push_back(kv_.take());
    else if (room() == 0 && rows_.back().get() != &row)
      pause_last();
    else
      break;
  }
  return std::min(tokens, room());
}

void Wave::pause_last() {
  let_go(*rows_.back());
  waiting_.push_front(std::move(rows_.back()));
  rows_.pop_back();
  output_share_.learn(1);  // outputs are longer than was thought
  ++counts_.paused_rows;
}

void Wave::let_go(Row& row) {
  kv_.release(row.blocks);
  row.blocks.clear();
  row.computed = 0;
  row.in_pass = 0;
}

void Wave::add_span(Row& row, PassBatch& batch, std::vector<SampleRow>& sample_rows) {
  const auto row_begin = static_cast<int32_t>(batch.tokens.size());
  batch.sequences.push_back({row_begin, row.in_pass, row.computed, row.blocks.data()});
  const int32_t end = row.computed + row.in_pass;
  for (int32_t i = row.computed; i < end; ++i) {
    batch.tokens.push_back(row.tokens[i]);
    batch.positions.push_back(i);
  }
  if (limits_.share_prefixes)
    kv_.seal(row.tokens, row.blocks, row.computed / kv_.block_tokens(), end / kv_.block_tokens());
  if (row.scored()) return add_scored(row, row_begin, batch);
  if (row.in_pass < row.pending()) return;  // the prompt goes on in the next pass
  batch.logit_rows.push_back(row_begin + row.in_pass - 1);
  SampleRow sample;
  sample.numbers = row.request.sampling;
  sample.seed = row.request.seed;
  sample.position = static_cast<int32_t>(row.tokens.size());
  sample.tokens = row.tokens.data();
  sample.prompt_tokens = row.prompt_tokens();
  sample.num_tokens = sample.position;
  if (row.generated() < row.request.min_new_tokens) {
    sample.banned = row.request.stop_token_ids.data();
    sample.num_banned = static_cast<int32_t>(row.request.stop_token_ids.size());
  }
  sample_rows.push_back(sample);
}

// A row that is computed anew has some scores already.
void Wave::add_scored(const Row& row, int32_t row_begin, PassBatch& batch) {
  const int32_t count = row.scores_in_pass();
  for (int32_t i = row.in_pass - count; i < row.in_pass; ++i) {
    batch.scored_rows.push_back(row_begin + i);
    batch.score_targets.push_back(row.tokens[row.computed + i + 1]);
  }
}

int64_t Wave::collect(const std::vector<SampleResult>& results,
                      std::span<const SoftmaxState> scores, const GenerationClient& client) {
  int64_t drawn = 0;
  in_pass_ = false;
  for (const auto& row : rows_) {
    if (row->scored()) {
      const int32_t count = row->scores_in_pass();
      take_scores(*row, scores.first(count));
      scores = scores.subspan(count);
    }
    row->computed += row->in_pass;
    if (!row->scored() && row->in_pass > 0 && row->pending() == 0)
      take_token(*row, results[drawn++], client);
    row->in_pass = 0;
  }
  drop_ended(rows_, client);
  drop_ended(waiting_, client);
  return drawn;
}

template <typename Rows>
void Wave::drop_ended(Rows& rows, const GenerationClient& client) {
  for (const auto& row : rows) {
    if (!row->ended && client.cancelled && client.cancelled(row->request.handle))
      end(*row, FinishReason::kCancelled);
    if (!row->ended) continue;
    let_go(*row);
    client.on_result(std::move(row->result));
  }
  std::erase_if(rows, [](const std::unique_ptr<Row>& row) { return row->ended; });
}

void Wave::take_token(Row& row, const SampleResult& result, const GenerationClient& client) {
  if (!result.finite) return end_non_finite(row, row.tokens.size());
  row.tokens.push_back(result.token);
  TokenScore score{{result.token, result.logprob}, {result.top, result.top + result.num_top}};
  if (row.request.sampling.logprobs >= 0) row.result.scores.push_back(score);

  const std::vector<int32_t>& stops = row.request.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), result.token) != stops.end()) {
    row.result.ends_with_stop_token = true;
    return end(row, FinishReason::kStop);
  }
  if (client.on_token) client.on_token(row.request.handle, score);
  if (row.stop_strings) {
    if (const auto begin = row.stop_strings->push(result.token)) {
      row.result.text_end = *begin;
      return end(row, FinishReason::kStop);
    }
  }
  const bool full = static_cast<int64_t>(row.tokens.size()) >= row.max_tokens;
  if (full || row.generated() >= row.request.max_new_tokens) end(row, FinishReason::kLength);
}

void Wave::take_scores(Row& row, std::span<const SoftmaxState> scores) {
  std::vector<float>& logprobs = row.result.prompt_logprobs;
  for (const SoftmaxState& score : scores) {
    if (!score.finite) return end_non_finite(row, logprobs.size() + 1);
    logprobs.push_back(score.logprob());
  }
  if (logprobs.size() + 1 == row.tokens.size()) end(row, FinishReason::kLength);
}

void Wave::end_non_finite(Row& row, size_t position) {
  row.result.error_code = "non_finite";
  row.result.error_message = "the model's logits at position " + std::to_string(position) +
                             " are not finite (overflow in the weights' dtype, or damaged weights)";
  end(row, FinishReason::kError);
}

void Wave::end(Row& row, FinishReason reason) {
  row.ended = true;
  row.result.reason = reason;
  if (row.scored()) {
    row.result.token_ids = row.tokens;
    return;
  }
  row.result.token_ids.assign(row.tokens.begin() + row.prompt_tokens(), row.tokens.end());
  const auto longest = static_cast<double>(row.max_tokens - row.prompt_tokens());
  if (reason == FinishReason::kStop || reason == FinishReason::kLength)
    output_share_.learn(row.generated() / longest);
}

}  // namespace zerostream
