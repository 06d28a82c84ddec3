// How far a model's predictions are from those of a reference.
#pragma once

#include <cstdint>
#include <span>

namespace zerostream {

// Means over positions of a text, each with the logits of both models over the whole vocabulary.
class Divergence {
 public:
  // next_token: the one that the text goes on with.
  void add(std::span<const float> reference, std::span<const float> logits, int32_t next_token);

  int64_t positions() const { return positions_; }
  // Kullback-Leibler divergence from the reference's distribution to the model's, in nats.
  double mean_kl() const { return kl_ / static_cast<double>(positions_); }
  // Share of positions where both have the same most probable token.
  double top1_agreement() const { return same_top_ / static_cast<double>(positions_); }
  double reference_perplexity() const;
  double perplexity() const;

 private:
  int64_t positions_ = 0;
  double kl_ = 0, same_top_ = 0;
  double reference_logprob_ = 0, logprob_ = 0;  // of the text
};

}  // namespace zerostream
