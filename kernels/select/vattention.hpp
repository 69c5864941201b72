// vAttention (arXiv 2510.05688): the best keys are kept as they are, and as many of the others are drawn at random as an (epsilon, delta)
// bound on the softmax denominator asks for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../core/counts.hpp"
#include "selector.hpp"

namespace asymptop {

/// z with P(X > z) = q of a standard normal X; q in (0, 1).
inline double upper_normal_quantile(double q) {
  double low = -40.0, high = 40.0;
  for (int i = 0; i < 100; ++i) {
    double const middle = 0.5 * (low + high);
    (0.5 * std::erfc(middle / std::sqrt(2.0)) > q ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// How many of a row's other keys are drawn, without replacement.
struct SampleBound {
  static constexpr std::int64_t least_base = 32;  ///< a mean and a deviation of fewer say little
  double base_share, epsilon, delta;

  /// Keys of the base sample of `others`.
  std::int64_t base(std::int64_t others) const {
    std::int64_t const share = std::llround(std::ceil(base_share * exact_double(others)));
    return std::min(others, std::max(least_base, share));
  }

  /// Keys of the sample: b = (z_(1-delta) deviation others / (epsilon denominator))^2, from the base sample's mean and standard deviation
  /// of e^s; at least the base sample and at most all. s: true scores less the row's largest, which no offset of all keys changes. forced:
  /// sum of e^s over the keys that are kept in any case.
  std::int64_t count(std::int64_t others, double forced, double mean, double deviation) const {
    double const keys = exact_double(others);
    double const root = upper_normal_quantile(delta) * deviation * keys / (epsilon * (forced + keys * mean)),
                 wanted = std::ceil(root * root);
    return wanted < keys ? std::max<std::int64_t>(base(others), std::llround(wanted)) : others;
  }
};

class VattentionSelector final : public Selector {
 public:
  VattentionSelector(ForcedKeys const& forced, SampleBound const& bound) : forced_(forced), bound_(bound) {}
  bool has_order() const override { return false; }
  /// Beside the best keys.
  ForcedKeys forced() const override { return forced_; }
  /// Samples of every budget, which many rows draw from all keys.
  SelectorSeconds seconds(int /*d*/) const override { return {0.0, 9e-8}; }
  SampleBound const& bound() const { return bound_; }

 private:
  ForcedKeys forced_;
  SampleBound bound_;
};

}  // namespace asymptop
