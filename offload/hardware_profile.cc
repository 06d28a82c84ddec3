#include "offload/hardware_profile.h"

#include <algorithm>
#include <cmath>

#include "base/require.h"

namespace zerostream {
namespace {

double seconds_at(const GemmRates::Point& point, int64_t rows) {
  return 2.0 * static_cast<double>(rows) / point.flops.median;
}

// How unlike two kinds of products are: first the bits of a weight, then the format, then the
// activations, then the layout.
double distance(const GemmRates& rates, DType weights, bool int8_activations, WeightLayout layout) {
  const double bits = std::log2(static_cast<double>(dtype_bits(rates.weights)) /
                                static_cast<double>(dtype_bits(weights)));
  return 4 * std::abs(bits) + (rates.weights != weights ? 2 : 0) +
         (rates.int8_activations != int8_activations ? 1 : 0) + (rates.layout != layout ? 0.5 : 0);
}

}  // namespace

double GemmRates::seconds(int64_t rows, int64_t outputs, int64_t inputs) const {
  require(!points.empty(), "rates of products have a point");
  const auto above = std::find_if(points.begin(), points.end(),
                                  [&](const Point& point) { return point.rows >= rows; });
  const double size = static_cast<double>(outputs) * static_cast<double>(inputs);
  if (above == points.end()) return size * seconds_at(points.back(), rows);
  if (above == points.begin()) return size * seconds_at(*above, rows);
  const Point& below = *(above - 1);
  const double share =
      static_cast<double>(rows - below.rows) / static_cast<double>(above->rows - below.rows);
  return size * std::lerp(seconds_at(below, below.rows), seconds_at(*above, above->rows), share);
}

const GemmRates& HardwareProfile::gemm(DType weights, bool int8_activations,
                                       WeightLayout layout) const {
  require(!compute.gemm.empty(), "a profile has rates of products");
  return *std::min_element(compute.gemm.begin(), compute.gemm.end(),
                           [&](const GemmRates& a, const GemmRates& b) {
                             return distance(a, weights, int8_activations, layout) <
                                    distance(b, weights, int8_activations, layout);
                           });
}

bool HardwareProfile::knows(DType weights, WeightLayout layout) const {
  return std::any_of(compute.gemm.begin(), compute.gemm.end(), [&](const GemmRates& rates) {
    return rates.weights == weights && rates.layout == layout && !rates.int8_activations;
  });
}

}  // namespace zerostream
