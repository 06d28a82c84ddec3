// How a run went, over time.
#pragma once

#include <cstdint>
#include <vector>

#include "model/json.h"
#include "offload/run_statistics.h"

namespace zerostream {

// Keeps what every pass did; in long runs, what every 2, 4, 8, ... passes did together. Sums over
// all points are those of the run, exactly.
//
// Allocates at construction only. Threads: one.
class RunHistory {
 public:
  // REQUIRES: max_points is even.
  explicit RunHistory(int32_t max_points = 1000);
  // A pass has ended, `seconds` after the run's start.
  void add(const RunStatistics& statistics, double seconds);
  // {"columns": names, "points": rows of numbers, "decode_generated_tokens": by passes that only
  // decoded}. A point goes from `start_seconds` to
  // `start_seconds` + `seconds`; `rows_active` is the mean over its passes, all else a sum.
  Json json() const;

 private:
  // Since the run's start, so that merging two points is forgetting the first.
  struct Point {
    double seconds = 0;
    double pass_seconds = 0;
    int64_t prefill_passes = 0, decode_passes = 0;
    int64_t prompt_tokens = 0, generated_tokens = 0;
    int64_t row_passes = 0;  // rows active, summed over passes
    double stall_weights_seconds = 0, stall_kv_seconds = 0;
    int64_t bytes_read = 0;
    int64_t passes() const { return prefill_passes + decode_passes; }
  };
  void merge();

  const size_t max_points_;
  std::vector<Point> points_;
  Point latest_;
  double start_seconds_ = 0;  // of the first pass
  int64_t decode_tokens_ = 0;
  int64_t added_ = 0;
  int64_t passes_per_point_ = 1;
};

}  // namespace zerostream
