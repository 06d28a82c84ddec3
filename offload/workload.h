// What a job asks of the engine, in numbers: what a plan is made for.
#pragma once

#include <cstdint>

namespace zerostream {

struct Workload {
  int64_t rows = 0;  // 0: unknown, without end
  double mean_prompt_tokens = 0;
  double mean_new_tokens = 0;
  int64_t longest_prompt_tokens = 0;
  int64_t longest_row_tokens = 0;  // prompt and output of one row, at most

  double mean_row_tokens() const { return mean_prompt_tokens + mean_new_tokens; }
};

}  // namespace zerostream
