// What a job asks of the engine, in numbers: what a plan is made for.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>

namespace zerostream {

struct RowContext;

struct Workload {
  int64_t rows = 0;  // 0: unknown, without end
  double mean_prompt_tokens = 0;
  double mean_new_tokens = 0;
  int64_t longest_prompt_tokens = 0;
  int64_t longest_row_tokens = 0;  // prompt and output of one row, at most
  // Rows want the probability of each of their tokens. To a plan, the last one is their output.
  bool scored = false;

  bool lengths_known() const { return longest_row_tokens > 0; }
  double mean_row_tokens() const { return mean_prompt_tokens + mean_new_tokens; }
  // What a pass of `rows` rows can use of a budget of `tokens`: one for every row at least, and no
  // more than all of their prompts.
  int64_t useful_tokens(int64_t rows, int64_t tokens) const {
    const int64_t most = lengths_known() ? rows * longest_prompt_tokens : tokens;
    return std::max(std::min(tokens, most), rows);
  }
};

// `rows` rows (0: without end) of equal length, as make_request() takes them: new tokens are cut to
// what the model's context leaves. Throws UsageError where the prompt leaves no room.
Workload equal_rows(int64_t rows, int64_t prompt_tokens, int64_t new_tokens,
                    const RowContext& context);

// Reads the rows of a regular file and tokenises up to a thousand of them, spread evenly over it.
// Means are those of this sample, each row taken to write all of the tokens that it may. The
// longest are never underestimated: a row outside of the sample is taken to have a token for every
// byte of its prompt, within the model's context. Rows that are wrong do not count. Stops early,
// with what it has, once `stop` is true. Throws IoError.
Workload measure_workload(const std::string& input, const RowContext& context,
                          const std::atomic<bool>& stop);

}  // namespace zerostream
