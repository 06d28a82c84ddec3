// The rows that take part in the passes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "offload/generator.h"
#include "offload/kv_blocks.h"
#include "offload/output_share.h"
#include "offload/pass_batch.h"

namespace zerostream {

struct WaveLimits {
  int32_t max_sequences = 0;
  int32_t token_budget = 0;    // tokens of a pass, at least max_sequences
  int64_t max_context = 0;     // prompt and output of one row; the KV blocks hold as many
  bool share_prefixes = true;  // rows that begin with the same tokens compute and hold them once
};

// What a pass took on, since the one before.
struct PassCounts {
  int64_t prompt_tokens = 0;  // in the pass: of prompts, and of rows that are computed anew
  int64_t reused_tokens = 0;  // found in KV blocks instead
  int64_t paused_rows = 0;
};

// Rows join at every pass, ride along with a token each once their prompt is computed, and leave
// when they end. Prompts are computed in chunks, oldest row first, in what decoding rows leave of
// the token budget. Rows to score are all prompt and end with it; as every position of theirs is
// wanted, they compute also what other rows have in KV blocks.
//
// Memory: a row holds KV blocks only for tokens that exist. It joins when its prompt, its output
// and those of all active rows are expected to fit; how long outputs get is learned from rows that
// ended. When a row finds no block nonetheless, the row that arrived last is paused: it gives up
// its blocks, waits ahead of new requests, and is computed anew from what is no longer cached. Its
// tokens stay and nothing of it is reported twice. So the oldest row advances in every pass, and
// rows end roughly in order of arrival.
//
// Threads: one. Nothing allocates between the passes but rows that join, pause and end.
class Wave {
 public:
  // `tokenizer` may be null: rows with stop strings then fail. References must outlive this. Other
  // users of `kv` must hold nothing.
  Wave(KvBlocks& kv, const Tokenizer* tokenizer, const WaveLimits& limits);
  // Gives all blocks back. What a pass that was not collected should have computed is forgotten.
  ~Wave();

  bool empty() const { return rows_.empty(); }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // Lets requests join, first those that had to wait. Requests that can never run get a result at
  // once.
  void refill(const GenerationClient& client);
  // Chooses the tokens of the next pass: batch, and a SampleRow for each of batch.logit_rows.
  // Blocks that a span reads may be written by an earlier span of the same pass.
  PassCounts compose(PassBatch& batch, std::vector<SampleRow>& sample_rows);
  // Takes the tokens that the composed pass drew and what it says of batch.scored_rows; reports
  // them and the rows that ended. Returns how many were drawn.
  int64_t collect(const std::vector<SampleResult>& results, std::span<const SoftmaxState> scores,
                  const GenerationClient& client);

 private:
  struct Row;
  std::unique_ptr<Row> accept(GenerationRequest request, const GenerationClient& client);
  bool join(std::unique_ptr<Row>& row);
  int64_t expected_growth(const Row& row) const;
  void reuse_known(Row& row);
  int32_t make_room(Row& row, int32_t tokens);
  void pause_last();
  void let_go(Row& row);
  void add_span(Row& row, PassBatch& batch, std::vector<SampleRow>& sample_rows);
  void add_scored(const Row& row, int32_t row_begin, PassBatch& batch);
  void take_token(Row& row, const SampleResult& result, const GenerationClient& client);
  void take_scores(Row& row, std::span<const SoftmaxState> scores);
  void end_non_finite(Row& row, size_t position);
  void end(Row& row, FinishReason reason);
  template <typename Rows>
  void drop_ended(Rows& rows, const GenerationClient& client);

  KvBlocks& kv_;
  const Tokenizer* tokenizer_;
  WaveLimits limits_;
  std::vector<std::unique_ptr<Row>> rows_;    // in order of arrival
  std::deque<std::unique_ptr<Row>> waiting_;  // arrived after those, in order
  OutputShare output_share_;
  PassCounts counts_;
  bool in_pass_ = false;  // composed, not collected
};

}  // namespace zerostream
