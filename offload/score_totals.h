// What scored rows say together.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/json.h"

namespace zerostream {

// exp of the mean negative log-probability; null where no token was scored.
Json perplexity_json(double sum_logprob, int64_t tokens);

// Sums over rows of an output of scores. A row's first token has no score and does not count.
struct ScoreTotals {
  int64_t tokens = 0;
  double sum_logprob = 0;  // natural logarithms

  // Takes a line as result_line() makes it; error rows add nothing. Throws CheckpointError for what
  // is no JSON.
  void add_line(std::string_view line);
  Json json() const;  // {"tokens", "sum_logprob", "perplexity"}
};

}  // namespace zerostream
