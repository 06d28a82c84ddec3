// The rows that take part in the passes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "offload/generator.h"
#include "offload/kv_pool.h"
#include "offload/pass_batch.h"
#include "offload/stop_strings.h"

namespace zerostream {

struct WaveLimits {
  int32_t max_sequences = 0;
  int32_t token_budget = 0;  // tokens of a pass, at least max_sequences
  int64_t max_context = 0;   // prompt and output of one row
};

// Rows join at every pass while there is memory for all of their tokens, ride along with a token
// each once their prompt is computed, and leave when they end. Prompts are computed in chunks,
// oldest row first, in what decoding rows leave of the token budget. KV blocks for prompt and
// longest output are taken when a row joins, so that no row ever runs out.
//
// Threads: one.
class Wave {
 public:
  // `tokenizer` may be null: rows with stop strings then fail. References must outlive this.
  Wave(KvPool& kv, const Tokenizer* tokenizer, const WaveLimits& limits);
  ~Wave();

  bool empty() const { return rows_.empty(); }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // Lets requests join, first those that had to wait. Requests that can never run get a result at
  // once.
  void refill(const GenerationClient& client);
  // Chooses the tokens of the next pass: batch, and a SampleRow for each of batch.logit_rows.
  // Returns how many of the tokens belong to prompts.
  int64_t compose(PassBatch& batch, std::vector<SampleRow>& sample_rows);
  // Takes the tokens that the composed pass drew; reports them and the rows that ended. Returns how
  // many were drawn.
  int64_t collect(const std::vector<SampleResult>& results, const GenerationClient& client);

 private:
  struct Row;
  bool join(GenerationRequest& request, const GenerationClient& client);
  void add_span(Row& row, int32_t tokens, PassBatch& batch, std::vector<SampleRow>& sample_rows);
  void take_token(Row& row, const SampleResult& result, const GenerationClient& client);
  void end(Row& row, FinishReason reason);

  KvPool& kv_;
  const Tokenizer* tokenizer_;
  WaveLimits limits_;
  std::vector<std::unique_ptr<Row>> rows_;  // in order of arrival
  std::optional<GenerationRequest> waiting_;
};

}  // namespace zerostream
