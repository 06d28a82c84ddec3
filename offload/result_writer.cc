#include "offload/result_writer.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

#include "offload/score_totals.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr size_t kMostWaiting = 1024;

std::string_view reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kError:
      return "error";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "error";
}

// The double that prints with the digits that a float needs, and no more.
OrderedJson shortest(float value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  double number = 0;
  std::from_chars(text, end, number);
  return number;
}

OrderedJson scores_json(const std::vector<TokenScore>& scores) {
  OrderedJson json = OrderedJson::array();
  for (const TokenScore& score : scores) {
    OrderedJson top = OrderedJson::array();
    for (const TokenLogprob& other : score.top)
      top.push_back(OrderedJson::array({other.token, shortest(other.logprob)}));
    json.push_back({{"token_id", score.chosen.token},
                    {"logprob", shortest(score.chosen.logprob)},
                    {"top", std::move(top)}});
  }
  return json;
}

void add_prompt_scores(const GenerationResult& result, OrderedJson& json) {
  OrderedJson logprobs = OrderedJson::array({nullptr});
  double sum = 0;
  for (const float logprob : result.prompt_logprobs) {
    logprobs.push_back(shortest(logprob));
    sum += logprob;
  }
  json["token_ids"] = result.token_ids;
  json["logprobs"] = std::move(logprobs);
  json["sum_logprob"] = sum;
  json["perplexity"] = perplexity_json(sum, static_cast<int64_t>(result.prompt_logprobs.size()));
  json["usage"] = {{"prompt_tokens", result.token_ids.size()}};
}

}  // namespace

std::string result_text(const GenerationResult& result, const Tokenizer& tokenizer) {
  const std::span<const int32_t> ids = result.token_ids;
  std::string text =
      tokenizer.decode(ids.first(ids.size() - (result.ends_with_stop_token ? 1 : 0)), true);
  if (result.text_end < text.size()) text.resize(result.text_end);
  return text;
}

std::string result_line(const FinishedRow& row, const Tokenizer* tokenizer) {
  const GenerationResult& result = row.result;
  OrderedJson json = {{"id", row.id}, {"index", row.place.index}};
  const bool error = result.reason == FinishReason::kError;
  if (result.purpose == Purpose::kScore) {
    if (error) json["finish_reason"] = "error";
    if (!error) add_prompt_scores(result, json);
  } else {
    if (tokenizer != nullptr) json["text"] = result_text(result, *tokenizer);
    json["token_ids"] = result.token_ids;
    json["finish_reason"] = reason_name(result.reason);
    json["usage"] = {{"prompt_tokens", row.prompt_tokens},
                     {"completion_tokens", result.token_ids.size()}};
    if (!result.scores.empty()) json["logprobs"] = scores_json(result.scores);
  }
  if (error) json["error"] = {{"code", result.error_code}, {"message", result.error_message}};
  return json_text(json);
}

LineSink descriptor_sink(int fd, std::string name) {
  return [fd, name = std::move(name)](const JobState::Entry&, std::string_view line) {
    const std::string bytes = std::string(line) + "\n";
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t written = write(fd, bytes.data() + done, bytes.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0)
        throw IoError("cannot write to " + name + ": " + std::strerror(errno), errno);
      done += static_cast<size_t>(written);
    }
  };
}

ResultWriter::ResultWriter(LineSink sink, const Tokenizer* tokenizer,
                           std::function<void()> on_failure)
    : sink_(std::move(sink)),
      tokenizer_(tokenizer),
      on_failure_(std::move(on_failure)),
      thread_([this] { work(); }) {}

ResultWriter::~ResultWriter() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ResultWriter::push(FinishedRow row) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return rows_.size() < kMostWaiting || error_ != nullptr; });
  if (error_ != nullptr) return;
  rows_.push_back(std::move(row));
  changed_.notify_all();
}

void ResultWriter::finish() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void ResultWriter::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return !rows_.empty() || closed_; });
    if (rows_.empty()) return;
    const FinishedRow row = std::move(rows_.front());
    rows_.pop_front();
    changed_.notify_all();
    lock.unlock();
    std::exception_ptr error;
    try {
      write(row);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error == nullptr) continue;
    error_ = error;
    rows_.clear();
    changed_.notify_all();
    lock.unlock();
    on_failure_();
    return;
  }
}

void ResultWriter::write(const FinishedRow& row) {
  const bool error = row.result.reason == FinishReason::kError;
  const std::string line = result_line(row, tokenizer_);
  sink_({.row = row.identity, .place = row.place, .error = error}, line);
  ++(error ? failed_ : ok_);
}

}  // namespace zerostream
