// The thread that writes results.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "model/tokenizer.h"
#include "offload/generator.h"
#include "offload/job_state.h"

namespace zerostream {

// A row that ended, with what the output says of it.
struct FinishedRow {
  Json id;
  RowPlace place;
  RowIdentity identity;
  int64_t prompt_tokens = 0;
  GenerationResult result;
};

// The text of a result: without special tokens, the stop token and what begins with a stop string.
std::string result_text(const GenerationResult& result, const Tokenizer& tokenizer);

// The output line of a row, without "\n". `tokenizer` may be null: then there is no text. Scored
// rows have no text but "logprobs" (null for the first token), their "sum_logprob" and
// "perplexity".
std::string result_line(const FinishedRow& row, const Tokenizer* tokenizer);

// Where lines go: one call per line, from the writer's thread.
using LineSink = std::function<void(const JobState::Entry& entry, std::string_view line)>;
// A sink into an open descriptor (stdout, a pipe). Throws IoError.
LineSink descriptor_sink(int fd, std::string name);

// Decodes, formats and writes finished rows in the order in which they come, on one thread of its
// own.
//
// Threads: push() from any; it blocks while many rows wait. Errors: the first error of the sink is
// kept, `on_failure` is called once from the writer's thread, later rows are dropped, and finish()
// throws the error.
class ResultWriter {
 public:
  ResultWriter(LineSink sink, const Tokenizer* tokenizer, std::function<void()> on_failure);
  ~ResultWriter();  // writes what was pushed

  void push(FinishedRow row);
  // Returns when everything pushed is written.
  void finish();

  // Rows written so far.
  int64_t ok() const { return ok_; }
  int64_t failed() const { return failed_; }

 private:
  void work();
  void write(const FinishedRow& row);

  LineSink sink_;
  const Tokenizer* tokenizer_;
  std::function<void()> on_failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<FinishedRow> rows_;  // guarded by mutex_
  bool closed_ = false;           // guarded by mutex_
  std::exception_ptr error_;      // guarded by mutex_
  std::atomic<int64_t> ok_ = 0, failed_ = 0;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace zerostream
