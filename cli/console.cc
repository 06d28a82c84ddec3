#include "cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"

namespace zerostream {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLiveInterval{200};
constexpr std::chrono::seconds kLineInterval{10};

std::string duration(double seconds) {
  const auto whole = static_cast<long long>(seconds);
  char text[64];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", whole / 3600, whole / 60 % 60);
  } else {
    std::snprintf(text, sizeof text, "%lldm%02llds", whole / 60, whole % 60);
  }
  return text;
}

double pass_seconds(const RunStatistics& statistics) {
  return std::max(1e-9, statistics.prefill_seconds + statistics.decode_seconds);
}

std::string rows_text(const JobProgress& progress) {
  const int64_t done = progress.rows_kept + progress.rows_done;
  if (!progress.rows_total) return "rows " + std::to_string(done);
  std::string text = "rows " + std::to_string(done) + "/" + std::to_string(*progress.rows_total);
  if (progress.rows_done == 0) return text;
  const double per_row =
      pass_seconds(progress.statistics) / static_cast<double>(progress.rows_done);
  return text + " | ETA " + duration(per_row * static_cast<double>(*progress.rows_total - done));
}

std::string rates_text(const JobProgress& progress) {
  const RunStatistics& statistics = progress.statistics;
  const int64_t tokens =
      progress.purpose == Purpose::kScore ? statistics.prompt_tokens : statistics.generated_tokens;
  const double passes = pass_seconds(statistics);
  const double reading = std::max(1e-9, statistics.reading_seconds);
  char text[160];
  std::snprintf(text, sizeof text, " | %lld in work | %.1f tok/s | %.2f GB/s | waiting %.0f %%",
                static_cast<long long>(statistics.rows_active),
                static_cast<double>(tokens) / passes,
                static_cast<double>(statistics.bytes_read) / reading / 1e9,
                100 * statistics.stall_weights_seconds / passes);
  return text;
}

}  // namespace

Console::Console(ConsoleOptions options)
    : options_(options), terminal_(isatty(STDERR_FILENO) == 1), last_shown_(Clock::now()) {}

Console::~Console() { clear_live_line(); }

void Console::log(LogLevel level, const std::string& line) {
  if (level > options_.level) return;
  clear_live_line();
  const char* prefix = level == LogLevel::kError  ? "error: "
                       : level == LogLevel::kWarn ? "warning: "
                                                  : "";
  std::fprintf(stderr, "zerostream: %s%s\n", prefix, line.c_str());
}

void Console::show(const JobProgress& progress) {
  const std::string line = rows_text(progress) + rates_text(progress);
  show_line(line, options_.level == LogLevel::kDebug);
}

void Console::show_packing(int64_t done_bytes, int64_t total_bytes) {
  show_line("packing: " + format_bytes(done_bytes) + " of " + format_bytes(total_bytes), false);
}

void Console::show_line(const std::string& line, bool due_anyway) {
  if (!options_.progress) return;
  const auto now = Clock::now();
  const bool live = terminal_ && !due_anyway;
  const bool due = now - last_shown_ >= (live ? Clock::duration(kLiveInterval) : kLineInterval);
  if (!due && !due_anyway) return;
  last_shown_ = now;
  if (!live) return log(LogLevel::kInfo, line);
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  live_line_ = true;
}

void Console::clear_live_line() {
  if (live_line_) std::fputs("\r\x1b[K", stderr);
  live_line_ = false;
}

}  // namespace zerostream
