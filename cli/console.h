// What people see on stderr.
#pragma once

#include <chrono>
#include <string>

#include "offload/batch_job.h"

namespace zerostream {

enum class LogLevel : uint8_t { kError, kWarn, kInfo, kDebug };

struct ConsoleOptions {
  LogLevel level = LogLevel::kInfo;
  bool progress = true;
};

// Prints lines of at least the given importance, and how a job gets on: on a terminal as one line
// that is written over, otherwise as a line every 10 s. Threads: one.
class Console {
 public:
  explicit Console(ConsoleOptions options);
  ~Console();  // leaves the cursor on a new line

  void log(LogLevel level, const std::string& line);
  void show(const JobProgress& progress);
  void show_packing(int64_t done_bytes, int64_t total_bytes);

 private:
  void show_line(const std::string& line, bool due_anyway);
  void clear_live_line();

  ConsoleOptions options_;
  bool terminal_;
  bool live_line_ = false;  // one stands on the terminal
  std::chrono::steady_clock::time_point last_shown_;
};

}  // namespace zerostream
