// ZeroStream as a library: a model behind a queue of prompts.
//
//   zerostream::EngineOptions options;
//   options.model = "models/mistral-7b";
//   zerostream::Engine engine(options);
//   std::future<zerostream::Completion> answer = engine.submit({.text = "The capital of France
//   is"}); std::cout << answer.get().text;
//
// Submit many prompts before waiting: every pass over the weights serves all rows that are in
// flight.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "zerostream/error.h"

#if defined(_WIN32)
#define ZEROSTREAM_API
#else
#define ZEROSTREAM_API __attribute__((visibility("default")))
#endif

namespace zerostream {

// What a run file says, for programs. Keys are those of the run file ("weights.placement"), values
// as written there.
struct EngineOptions {
  std::string model;     // model.path: Hugging Face folder, GGUF file or packed store
  std::string run_file;  // YAML file to start from; empty: defaults
  std::vector<std::string>
      settings;  // "key=value", applied over the file: "weights.placement=nvme", "host.memory=8GiB"
  std::string cache_folder;  // where packed stores are kept; empty: the user's cache folder
  // Gets lines meant for people (packing, fallbacks, progress of loading); empty: dropped.
  std::function<void(const std::string& line)> log;
};

// A prompt as text or as token ids, and how to continue it. What is not set comes from the run
// file, then from the model's generation_config.json, then from the defaults.
struct Prompt {
  std::optional<std::string> text = {};
  std::vector<int32_t> token_ids = {};
  std::optional<int32_t> max_new_tokens = {};
  std::optional<int32_t> min_new_tokens = {};
  std::optional<float> temperature = {};  // 0: greedy
  std::optional<int32_t> top_k = {};      // 0: off
  std::optional<float> top_p = {};
  std::optional<float> min_p = {};
  std::optional<float> repetition_penalty = {};
  std::optional<float> presence_penalty = {};
  std::optional<float> frequency_penalty = {};
  std::optional<uint64_t> seed = {};
  std::optional<std::vector<std::string>> stop = {};
  std::optional<std::vector<int32_t>> stop_token_ids = {};
  std::optional<bool> ignore_eos = {};
  std::optional<int32_t> logprobs = {};  // the token's own and the N largest, at most 20
};

struct LogProbability {
  int32_t token_id = 0;
  float logprob = 0;  // natural logarithm of the model's softmax, before temperature and penalties
};

struct TokenLogProbabilities {
  LogProbability chosen;
  std::vector<LogProbability> top;
};

struct Completion {
  uint64_t id = 0;                 // as submit() gave it to callbacks
  std::string text;                // empty for a model without a tokenizer
  std::vector<int32_t> token_ids;  // all that were generated, a stop token included
  std::string finish_reason;       // "stop", "length", "cancelled" or "error"
  std::string error_code,
      error_message;  // for "error": this prompt's own failure; the others go on
  int32_t prompt_tokens = 0;
  std::vector<TokenLogProbabilities> logprobs;  // one per token, if asked for
};

// Called from the engine's thread, between passes; they must return soon and must not throw.
struct Callbacks {
  // A token of the prompt `id`, with the text that it made final (maybe none yet: half a
  // character).
  std::function<void(uint64_t id, int32_t token_id, const std::string& text)> on_token = {};
  std::function<void(Completion completion)> on_completion = {};
};

// Threads: all members from any thread. Several engines may live in one process.
// Errors: the constructor throws what is wrong with options, model or memory (see
// zerostream/error.h). An error of I/O or of the device ends the engine: it reaches every future
// that is not done, and later submits throw it.
class ZEROSTREAM_API Engine {
 public:
  explicit Engine(const EngineOptions& options);
  // Cancels what is not done.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a prompt. Throws UsageError for options out of range, text without a tokenizer, or no
  // prompt at all.
  std::future<Completion> submit(const Prompt& prompt);
  // The same with callbacks; returns the prompt's id. An engine that fails calls on_completion with
  // an error.
  uint64_t submit(const Prompt& prompt, Callbacks callbacks);
  // Ends a prompt early; its completion comes with what it has, finish_reason "cancelled". Unknown
  // or done: nothing.
  void cancel(uint64_t id);
  // Blocks until everything submitted so far is done.
  void wait();

  std::vector<int32_t> tokenize(
      const std::string& text) const;  // throws UsageError without a tokenizer
  std::string detokenize(const std::vector<int32_t>& token_ids) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

ZEROSTREAM_API const char* version();

}  // namespace zerostream
