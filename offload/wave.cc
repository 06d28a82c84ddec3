#include "offload/wave.h"

#include <algorithm>

#include "base/require.h"

namespace zerostream {

struct Wave::Row {
  GenerationRequest request;
  std::vector<int32_t>
      tokens;            // prompt and output; capacity for all of them, so that its address stays
  int32_t computed = 0;  // tokens whose keys and values are in the KV blocks
  int32_t in_pass = 0;   // tokens of this row in the composed pass
  int64_t max_tokens = 0;
  std::vector<int32_t> blocks;
  std::optional<StopStrings> stop_strings;
  GenerationResult result;
  bool ended = false;

  int32_t prompt_tokens() const { return static_cast<int32_t>(request.prompt_tokens.size()); }
  int32_t generated() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens(); }
  int32_t pending() const { return static_cast<int32_t>(tokens.size()) - computed; }
  bool prefilling() const { return generated() == 0; }
};

Wave::Wave(KvPool& kv, const Tokenizer* tokenizer, const WaveLimits& limits)
    : kv_(kv), tokenizer_(tokenizer), limits_(limits) {
  require(limits.token_budget >= limits.max_sequences,
          "every decoding row has its token in every pass");
}

Wave::~Wave() {
  for (const auto& row : rows_) kv_.give_back(row->blocks);
}

void Wave::refill(const GenerationClient& client) {
  while (size() < limits_.max_sequences) {
    if (!waiting_) waiting_ = client.next(rows_.empty());
    if (!waiting_ || !join(*waiting_, client)) return;
    waiting_.reset();
  }
}

// False if the request must wait for KV blocks.
bool Wave::join(GenerationRequest& request, const GenerationClient& client) {
  const auto refuse = [&](const char* code, std::string message) {
    GenerationResult result;
    result.handle = request.handle;
    result.reason = FinishReason::kError;
    result.error_code = code;
    result.error_message = std::move(message);
    client.on_result(std::move(result));
    return true;
  };
  const auto prompt = static_cast<int64_t>(request.prompt_tokens.size());
  if (prompt >= limits_.max_context)
    return refuse("over_length", "the prompt's " + std::to_string(prompt) +
                                     " tokens leave no room for output in " +
                                     std::to_string(limits_.max_context) + " positions");
  if (!request.stop_strings.empty() && tokenizer_ == nullptr)
    return refuse("no_tokenizer", "stop strings need a tokenizer, which this model lacks");

  const int64_t max_tokens = std::min(prompt + request.max_new_tokens, limits_.max_context);
  const int64_t blocks = kv_.blocks_for(max_tokens);
  if (blocks > kv_.free_blocks()) return false;
  auto row = std::make_unique<Row>();
  row->request = std::move(request);
  row->tokens.reserve(max_tokens);
  row->tokens = row->request.prompt_tokens;
  row->max_tokens = max_tokens;
  row->blocks = kv_.take(blocks);
  if (!row->request.stop_strings.empty())
    row->stop_strings.emplace(*tokenizer_, row->request.stop_strings);
  row->result.handle = row->request.handle;
  rows_.push_back(std::move(row));
  return true;
}

int64_t Wave::compose(PassBatch& batch, std::vector<SampleRow>& sample_rows) {
  batch.clear();
  sample_rows.clear();
  int32_t budget = limits_.token_budget;
  for (const auto& row : rows_) {
    row->in_pass = row->prefilling() ? 0 : 1;
    budget -= row->in_pass;
  }
  int64_t prompt_tokens = 0;
  for (const auto& row : rows_) {
    if (row->prefilling()) {
      row->in_pass = std::min(budget, row->pending());
      budget -= row->in_pass;
      prompt_tokens += row->in_pass;
    }
    if (row->in_pass > 0) add_span(*row, row->in_pass, batch, sample_rows);
  }
  return prompt_tokens;
}

void Wave::add_span(Row& row, int32_t tokens, PassBatch& batch,
                    std::vector<SampleRow>& sample_rows) {
  const auto row_begin = static_cast<int32_t>(batch.tokens.size());
  batch.sequences.push_back({row_begin, tokens, row.computed, row.blocks.data()});
  for (int32_t i = row.computed; i < row.computed + tokens; ++i) {
    batch.tokens.push_back(row.tokens[i]);
    batch.positions.push_back(i);
  }
  if (tokens < row.pending()) return;  // the prompt goes on in the next pass
  batch.logit_rows.push_back(row_begin + tokens - 1);
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

int64_t Wave::collect(const std::vector<SampleResult>& results, const GenerationClient& client) {
  int64_t drawn = 0;
  for (const auto& row : rows_) {
    row->computed += row->in_pass;
    if (row->in_pass > 0 && row->pending() == 0) take_token(*row, results[drawn++], client);
    if (!row->ended && client.cancelled && client.cancelled(row->request.handle))
      end(*row, FinishReason::kCancelled);
  }
  for (const auto& row : rows_) {
    if (!row->ended) continue;
    kv_.give_back(row->blocks);
    row->blocks.clear();
    client.on_result(std::move(row->result));
  }
  std::erase_if(rows_, [](const std::unique_ptr<Row>& row) { return row->ended; });
  return drawn;
}

void Wave::take_token(Row& row, const SampleResult& result, const GenerationClient& client) {
  if (!result.finite) {
    row.result.error_code = "non_finite";
    row.result.error_message =
        "the model's logits at position " + std::to_string(row.tokens.size()) +
        " are not finite (overflow in the weights' dtype, or damaged weights)";
    return end(row, FinishReason::kError);
  }
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

void Wave::end(Row& row, FinishReason reason) {
  row.ended = true;
  row.result.reason = reason;
  row.result.token_ids.assign(row.tokens.begin() + row.prompt_tokens(), row.tokens.end());
}

}  // namespace zerostream
