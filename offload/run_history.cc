#include "offload/run_history.h"

#include <cmath>

#include "base/require.h"

namespace zerostream {
namespace {

double to_microseconds(double seconds) { return std::round(seconds * 1e6) / 1e6; }

}  // namespace

RunHistory::RunHistory(int32_t max_points) : max_points_(static_cast<size_t>(max_points)) {
  require(max_points > 0 && max_points % 2 == 0, "points are merged in pairs");
  points_.reserve(max_points_);
}

void RunHistory::add(const RunStatistics& s, double seconds) {
  const int64_t row_passes = latest_.row_passes + s.rows_active;
  if (s.decode_passes > latest_.decode_passes)
    decode_tokens_ += s.generated_tokens - latest_.generated_tokens;
  latest_ = {.seconds = seconds,
             .pass_seconds = s.prefill_seconds + s.decode_seconds,
             .prefill_passes = s.prefill_passes,
             .decode_passes = s.decode_passes,
             .prompt_tokens = s.prompt_tokens,
             .generated_tokens = s.generated_tokens,
             .row_passes = row_passes,
             .stall_weights_seconds = s.stall_weights_seconds,
             .stall_kv_seconds = s.stall_kv_seconds,
             .bytes_read = s.bytes_read};
  if (added_++ == 0) start_seconds_ = seconds - latest_.pass_seconds;
  if (points_.size() == max_points_) merge();
  if (added_ % passes_per_point_ == 0) points_.push_back(latest_);
}

void RunHistory::merge() {
  for (size_t i = 0; i < max_points_ / 2; ++i) points_[i] = points_[2 * i + 1];
  points_.resize(max_points_ / 2);
  passes_per_point_ *= 2;
}

Json RunHistory::json() const {
  Json points = Json::array();
  Point before{.seconds = start_seconds_};
  const auto add = [&](const Point& now) {
    const int64_t passes = now.passes() - before.passes();
    const double rows = static_cast<double>(now.row_passes - before.row_passes) /
                        static_cast<double>(passes > 0 ? passes : 1);
    points.push_back(
        {to_microseconds(before.seconds), to_microseconds(now.seconds - before.seconds),
         to_microseconds(now.pass_seconds - before.pass_seconds),
         now.prefill_passes - before.prefill_passes, now.decode_passes - before.decode_passes,
         now.prompt_tokens - before.prompt_tokens, now.generated_tokens - before.generated_tokens,
         std::round(rows * 100) / 100,
         to_microseconds(now.stall_weights_seconds - before.stall_weights_seconds),
         to_microseconds(now.stall_kv_seconds - before.stall_kv_seconds),
         now.bytes_read - before.bytes_read});
    before = now;
  };
  for (const Point& point : points_) add(point);
  if (added_ % passes_per_point_ != 0) add(latest_);
  return {{"columns",
           {"start_seconds", "seconds", "pass_seconds", "prefill_passes", "decode_passes",
            "prompt_tokens", "generated_tokens", "rows_active", "wait_weights_seconds",
            "wait_kv_seconds", "bytes_read"}},
          {"points", std::move(points)},
          {"decode_generated_tokens", decode_tokens_}};
}

}  // namespace zerostream
