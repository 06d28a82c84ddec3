#include "zerostream/engine.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "offload/cache_folder.h"
#include "offload/generator.h"
#include "offload/loaded_model.h"
#include "offload/result_writer.h"
#include "offload/rows.h"
#include "offload/run_config.h"

namespace zerostream {
namespace {

RunConfig engine_config(const EngineOptions& options) {
  std::vector<ConfigOverride> overrides;
  if (!options.model.empty())
    overrides.push_back({.key = "model.path",
                         .value = options.model,
                         .flag = "EngineOptions::model",
                         .literal = true});
  for (const std::string& setting : options.settings) overrides.push_back(parse_override(setting));
  const RunConfig config = load_run_config(options.run_file, overrides);
  if (config.model.path.empty()) throw UsageError("EngineOptions name no model");
  return config;
}

RuntimeOptions engine_options(const RunConfig& config, const Backend& backend) {
  RuntimeOptions options = runtime_options(config);
  fit_options(backend, options);
  return options;
}

// A prompt as a row of a file would say it, so that both are checked by the same rules.
Json row_fields(const Prompt& prompt) {
  Json fields = Json::object();
  const auto set = [&fields](const char* name, const auto& value) {
    if (value) fields[name] = *value;
  };
  set("prompt", prompt.text);
  if (!prompt.token_ids.empty()) fields["prompt_token_ids"] = prompt.token_ids;
  set("max_new_tokens", prompt.max_new_tokens);
  set("min_new_tokens", prompt.min_new_tokens);
  set("temperature", prompt.temperature);
  set("top_k", prompt.top_k);
  set("top_p", prompt.top_p);
  set("min_p", prompt.min_p);
  set("repetition_penalty", prompt.repetition_penalty);
  set("presence_penalty", prompt.presence_penalty);
  set("frequency_penalty", prompt.frequency_penalty);
  set("seed", prompt.seed);
  set("stop", prompt.stop);
  set("stop_token_ids", prompt.stop_token_ids);
  set("ignore_eos", prompt.ignore_eos);
  set("logprobs", prompt.logprobs);
  return fields;
}

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

LogProbability log_probability(const TokenLogprob& value) { return {value.token, value.logprob}; }

}  // namespace

struct Engine::State {
  // A prompt that is waiting or running.
  struct Submission {
    int32_t prompt_tokens = 0;
    Callbacks callbacks;
    std::optional<StreamDecoder> decoder;  // for on_token, of the engine's thread
  };

  explicit State(const EngineOptions& options)
      : config(engine_config(options)),
        model(
            load_model(config, {.cache_folder = options.cache_folder.empty() ? user_cache_folder()
                                                                             : options.cache_folder,
                                .note =
                                    [log = options.log](const std::string& line) {
                                      if (log) log(line);
                                    },
                                .packing = [](int64_t, int64_t) {}})),
        generator(model.store, *model.backend.device, *model.backend.kernels, model.tokenizer.get(),
                  engine_options(config, model.backend)),
        context{.tokenizer = model.tokenizer.get(),
                .vocab_size = model.store.config().vocab_size,
                .sampling = model.sampling,
                .eos_ids = model.eos_ids,
                .model_context = model.store.config().max_position_embeddings,
                .memory_context = generator.max_context(),
                .over_length = config.job.over_length},
        thread([this] { serve(); }) {}

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
      changed.notify_all();
    }
    thread.join();
  }

  uint64_t submit(const Prompt& prompt, Callbacks callbacks);
  void serve();
  std::optional<GenerationRequest> next(bool idle);
  void report_token(uint64_t id, const TokenScore& token);
  void finish(GenerationResult result);
  void end_all(const std::string& reason, const std::string& code, const std::string& message);
  Completion completion(const GenerationResult& result, const Submission& submission) const;

  const RunConfig config;
  const LoadedModel model;
  Generator generator;
  const RowContext context;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<GenerationRequest> queue;  // guarded by mutex, as are those below
  std::map<uint64_t, Submission> submissions;
  std::set<uint64_t> cancelled;
  uint64_t last_id = 0;
  std::exception_ptr failure;
  std::atomic<bool> stop = false;
  std::thread thread;  // last: it uses the rest
};

uint64_t Engine::State::submit(const Prompt& prompt, Callbacks callbacks) {
  InputRow row;
  row.fields = row_fields(prompt);
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex);
    if (failure) std::rethrow_exception(failure);
    id = ++last_id;
  }
  row.index = static_cast<int64_t>(id);
  row.id = id;
  GenerationRequest request;
  try {
    request = make_request(row, context);
  } catch (const RowError& error) {
    throw UsageError(error.what());
  }
  Submission submission{.prompt_tokens = static_cast<int32_t>(request.prompt_tokens.size()),
                        .callbacks = std::move(callbacks),
                        .decoder = {}};
  if (submission.callbacks.on_token && model.tokenizer)
    submission.decoder.emplace(*model.tokenizer, true);
  const std::lock_guard lock(mutex);
  if (failure) std::rethrow_exception(failure);
  submissions.emplace(id, std::move(submission));
  queue.push_back(std::move(request));
  changed.notify_all();
  return id;
}

void Engine::State::serve() {
  const GenerationClient client{
      .next = [this](bool idle) { return next(idle); },
      .on_token = [this](uint64_t id, const TokenScore& token) { report_token(id, token); },
      .on_result = [this](GenerationResult result) { finish(std::move(result)); },
      .cancelled =
          [this](uint64_t id) {
            const std::lock_guard lock(mutex);
            return cancelled.contains(id);
          },
      .on_pass = {}};
  try {
    generator.run(client, stop);
    end_all("cancelled", "", "");
  } catch (const std::exception& error) {
    {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
    end_all("error", "engine", error.what());
  }
}

std::optional<GenerationRequest> Engine::State::next(bool idle) {
  std::unique_lock lock(mutex);
  if (idle) changed.wait(lock, [this] { return stop || !queue.empty(); });
  if (stop || queue.empty()) return std::nullopt;
  GenerationRequest request = std::move(queue.front());
  queue.pop_front();
  return request;
}

void Engine::State::report_token(uint64_t id, const TokenScore& token) {
  Submission* submission = nullptr;
  {
    const std::lock_guard lock(mutex);
    submission = &submissions.at(id);
  }
  if (!submission->callbacks.on_token) return;
  const std::string text =
      submission->decoder ? submission->decoder->push(token.chosen.token) : std::string();
  submission->callbacks.on_token(id, token.chosen.token, text);
}

void Engine::State::finish(GenerationResult result) {
  Submission submission;
  {
    const std::lock_guard lock(mutex);
    submission = std::move(submissions.extract(result.handle).mapped());
    cancelled.erase(result.handle);
  }
  if (submission.callbacks.on_completion)
    submission.callbacks.on_completion(completion(result, submission));
  const std::lock_guard lock(mutex);
  changed.notify_all();
}

Completion Engine::State::completion(const GenerationResult& result,
                                     const Submission& submission) const {
  Completion made;
  made.id = result.handle;
  made.token_ids = result.token_ids;
  made.finish_reason = reason_name(result.reason);
  made.error_code = result.error_code;
  made.error_message = result.error_message;
  made.prompt_tokens = submission.prompt_tokens;
  if (model.tokenizer) made.text = result_text(result, *model.tokenizer);
  for (const TokenScore& score : result.scores) {
    made.logprobs.push_back({log_probability(score.chosen), {}});
    for (const TokenLogprob& top : score.top)
      made.logprobs.back().top.push_back(log_probability(top));
  }
  return made;
}

// Gives every prompt that is not done a completion without output.
void Engine::State::end_all(const std::string& reason, const std::string& code,
                            const std::string& message) {
  std::map<uint64_t, Submission> left;
  {
    const std::lock_guard lock(mutex);
    left.swap(submissions);
    queue.clear();
  }
  for (auto& [id, submission] : left) {
    if (!submission.callbacks.on_completion) continue;
    Completion made;
    made.id = id;
    made.finish_reason = reason;
    made.error_code = code;
    made.error_message = message;
    made.prompt_tokens = submission.prompt_tokens;
    submission.callbacks.on_completion(std::move(made));
  }
  const std::lock_guard lock(mutex);
  changed.notify_all();
}

const char* version() { return ZEROSTREAM_VERSION; }

Engine::Engine(const EngineOptions& options) : state_(std::make_unique<State>(options)) {}
Engine::~Engine() = default;

std::future<Completion> Engine::submit(const Prompt& prompt) {
  auto promise = std::make_shared<std::promise<Completion>>();
  std::future<Completion> future = promise->get_future();
  State* state = state_.get();
  state->submit(prompt, {.on_completion = [promise, state](Completion completion) {
                  std::exception_ptr failure;
                  {
                    const std::lock_guard lock(state->mutex);
                    failure = state->failure;
                  }
                  if (failure)
                    promise->set_exception(failure);
                  else
                    promise->set_value(std::move(completion));
                }});
  return future;
}

uint64_t Engine::submit(const Prompt& prompt, Callbacks callbacks) {
  return state_->submit(prompt, std::move(callbacks));
}

void Engine::cancel(uint64_t id) {
  const std::lock_guard lock(state_->mutex);
  if (state_->submissions.contains(id)) state_->cancelled.insert(id);
}

void Engine::wait() {
  std::unique_lock lock(state_->mutex);
  const uint64_t last = state_->last_id;
  state_->changed.wait(lock, [this, last] {
    return state_->submissions.empty() || state_->submissions.begin()->first > last;
  });
}

std::vector<int32_t> Engine::tokenize(const std::string& text) const {
  if (!state_->model.tokenizer) throw UsageError("the model has no tokenizer");
  return state_->model.tokenizer->encode(text, true);
}

std::string Engine::detokenize(const std::vector<int32_t>& token_ids) const {
  if (!state_->model.tokenizer) throw UsageError("the model has no tokenizer");
  return state_->model.tokenizer->decode(token_ids, true);
}

}  // namespace zerostream
