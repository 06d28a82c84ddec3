#include "bench/divergence.h"

#include <algorithm>
#include <cmath>

namespace zerostream {
namespace {

struct Softmax {
  size_t best = 0;
  double log_sum = 0;  // of exp(logit)

  explicit Softmax(std::span<const float> logits)
      : best(std::max_element(logits.begin(), logits.end()) - logits.begin()) {
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - logits[best]);
    log_sum = logits[best] + std::log(sum);
  }
};

}  // namespace

void Divergence::add(std::span<const float> reference, std::span<const float> logits,
                     int32_t next_token) {
  const Softmax expected(reference), actual(logits);
  double kl = actual.log_sum - expected.log_sum;
  for (size_t i = 0; i < reference.size(); ++i)
    kl += std::exp(reference[i] - expected.log_sum) *
          (static_cast<double>(reference[i]) - static_cast<double>(logits[i]));
  ++positions_;
  kl_ += kl;
  same_top_ += expected.best == actual.best ? 1 : 0;
  reference_logprob_ += reference[next_token] - expected.log_sum;
  logprob_ += logits[next_token] - actual.log_sum;
}

double Divergence::reference_perplexity() const {
  return std::exp(-reference_logprob_ / static_cast<double>(positions_));
}

double Divergence::perplexity() const {
  return std::exp(-logprob_ / static_cast<double>(positions_));
}

}  // namespace zerostream
