// A rule in place of a budget: all keys whose share of the softmax, as some scores tell it, reaches a threshold.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "selector.hpp"
#include "selector_values.hpp"

namespace asymptop {

/// theta, or theta / n of the keys that a row sees.
struct ShareThreshold {
  double theta;
  bool of_n;
  double at(std::int64_t visible) const { return of_n ? theta / static_cast<double>(visible) : theta; }
};

/// A number over 0, at most 1, or any over 0 with /n behind it. Throws std::invalid_argument.
inline ShareThreshold share_threshold_of(std::string const& text) {
  bool const of_n = text.size() > 2 && text.compare(text.size() - 2, 2, "/n") == 0;
  double const theta = decimal_of(of_n ? text.substr(0, text.size() - 2) : text);
  if (!(theta > 0.0 && std::isfinite(theta)) || (!of_n && theta > 1.0))
    throw std::invalid_argument("is neither a number over 0, at most 1, nor one over 0 with /n behind it, such as 1/n");
  return {theta, of_n};
}

/// Of the row's keys those with e^{sigma s} >= theta times what `of_largest` says: the largest e^{sigma s} of the row, or the sum of all
/// of them (and of a learned sink). s: the products of the projection, capped as logits are. Keys of the largest s are kept in any case.
class ThresholdSelector final : public Selector {
 public:
  ThresholdSelector(ShareThreshold theta, bool of_largest, std::unique_ptr<Projection> estimate, ForcedKeys const& forced)
      : theta_(theta), of_largest_(of_largest), estimate_(std::move(estimate)), forced_(forced) {}
  ForcedKeys forced() const override { return forced_; }
  Projection* projection() override { return estimate_.get(); }
  Projection const& estimate() const { return *estimate_; }
  bool keeps_first() const override { return false; }
  bool has_order() const override { return false; }
  /// Three walks over the keys with all queries, each with exponentials but for the first.
  SelectorSeconds seconds(int d) const override { return {3e-9 * d, 3.0 * (3e-11 * d + 1e-9)}; }
  bool of_largest() const { return of_largest_; }

  /// The least sigma s that is kept. largest: the largest s; sum: of e^{sigma (s - largest)} over all keys, and of a sink.
  double least(double sigma, double largest, double sum, std::int64_t visible) const {
    double const share = std::log(theta_.at(visible)) + (of_largest_ ? 0.0 : std::log(sum));
    return sigma * largest + std::min(share, 0.0);
  }

 private:
  ShareThreshold theta_;
  bool of_largest_;
  std::unique_ptr<Projection> estimate_;
  ForcedKeys forced_;
};

}  // namespace asymptop
