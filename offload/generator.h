// The loop that turns requests into tokens: one model on one device, pass after pass.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "model/tokenizer.h"
#include "offload/model_runtime.h"
#include "offload/run_statistics.h"

namespace zerostream {

enum class Purpose : uint8_t {
  kGenerate,  // continue the prompt
  kScore,     // say how probable each token of the prompt is after those before it
};

// What to generate. Values are checked by who makes it (offload/rows.h); `handle` names the request
// in results. Of a row to score only handle and prompt count.
struct GenerationRequest {
  uint64_t handle = 0;
  Purpose purpose = Purpose::kGenerate;
  std::vector<int32_t> prompt_tokens;  // at least one, ids below vocab_size
  SamplingNumbers sampling;
  uint64_t seed = 0;  // of this row: mixed from the job's seed and the row's id
  int32_t max_new_tokens = 64;
  int32_t min_new_tokens = 0;
  // End the row and stay out of its text; EOS ids are among them unless ignored. None comes before
  // min_new_tokens.
  std::vector<int32_t> stop_token_ids;
  std::vector<std::string> stop_strings;  // end the row; cut off its text
};

enum class FinishReason : uint8_t { kStop, kLength, kError, kCancelled };

struct TokenScore {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

struct GenerationResult {
  uint64_t handle = 0;
  Purpose purpose = Purpose::kGenerate;
  FinishReason reason = FinishReason::kLength;
  // All that were generated, a stop token included; of a scored row its prompt.
  std::vector<int32_t> token_ids;
  bool ends_with_stop_token = false;  // the last token ended the row and is no part of its text
  // Where a stop string begins in the decoded text, which ends there; npos: none came.
  size_t text_end = std::string::npos;
  std::vector<TokenScore> scores;  // one per token if asked for
  // Of a scored row: natural logarithms of the probabilities of all tokens but the first.
  std::vector<float> prompt_logprobs;
  std::string error_code, error_message;  // for kError
};

// All callbacks come from the thread that calls run(), between passes, and must return soon.
struct GenerationClient {
  // The next request, or nothing. `idle`: no row is active; the call may then block until there is
  // one. After it returned nothing while idle, run() ends.
  std::function<std::optional<GenerationRequest>(bool idle)> next;
  std::function<void(uint64_t handle, const TokenScore& token)> on_token;  // may be empty
  std::function<void(GenerationResult result)> on_result;
  std::function<bool(uint64_t handle)> cancelled;     // may be empty
  std::function<void(const RunStatistics&)> on_pass;  // after every pass; may be empty
};

// Requests of both purposes may come in any order and share passes.
//
// Throws InfeasibleError when the pools do not fit, with the bytes of each.
class Generator {
 public:
  // All references must outlive this. `tokenizer` may be null: then stop strings are refused.
  Generator(const PackedStore& store, Device& device, Kernels& kernels, const Tokenizer* tokenizer,
            const RuntimeOptions& options);
  ~Generator();

  // Serves requests until there are none, or until `*stop` becomes true (polled between passes):
  // then rows in flight are dropped without a result. Throws the first error of I/O or device;
  // results given before stay valid.
  void run(const GenerationClient& client, const std::atomic<bool>& stop);

  // The longest prompt + output that the KV memory holds for one row, at most the model's own
  // limit.
  int64_t max_context() const;
  const MemoryPlan& plan() const;
  const RunStatistics& statistics() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zerostream
