#include "offload/score_totals.h"

#include <cmath>

namespace zerostream {

Json perplexity_json(double sum_logprob, int64_t tokens) {
  if (tokens == 0) return nullptr;
  return std::exp(-sum_logprob / static_cast<double>(tokens));
}

void ScoreTotals::add_line(std::string_view line) {
  const Json row = parse_json(line, "a row of scores");
  if (row.contains("error")) return;
  tokens += row.at("usage").at("prompt_tokens").get<int64_t>() - 1;
  sum_logprob += row.at("sum_logprob").get<double>();
}

Json ScoreTotals::json() const {
  return {{"tokens", tokens},
          {"sum_logprob", sum_logprob},
          {"perplexity", perplexity_json(sum_logprob, tokens)}};
}

}  // namespace zerostream
