// How much of what rows may generate they do generate.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace zerostream {

// The mean share of its longest output that a row used, over the rows seen last, with a margin.
// Starts at 1, and stays there while rows run to their limit.
class OutputShare {
 public:
  OutputShare() { recent_.fill(1); }

  // A row ended after `share` (0 .. 1) of its longest output.
  void learn(double share) {
    recent_[next_] = share;
    next_ = (next_ + 1) % recent_.size();
    double sum = 0;
    for (const double one : recent_) sum += one;
    expected_ = std::min(1.0, kMargin * sum / recent_.size());
  }
  // Of what a row has left, how much it is expected to use.
  double expected() const { return expected_; }

 private:
  static constexpr double kMargin = 1.25;
  std::array<double, 64> recent_;
  size_t next_ = 0;
  double expected_ = 1;
};

}  // namespace zerostream
