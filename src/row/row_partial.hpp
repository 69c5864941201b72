// fp64 softmax of one row over some of its keys, joined with that over others: what checks compare with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/reference/attention_row.hpp"

namespace asymptop {

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Sums over a set of keys of one row that can be joined with those of another set: a softmax of the set alone, and its log_sum_exp.
struct Partial {
  reference::RowProfile profile{-infinity, 0.0, 0.0, 0.0};
  std::vector<double> output;  ///< attention over the set; empty where not wanted

  /// p of a joint set is p of the part times the part's share w: entropies add as w (H - log w), squares as w^2.
  void join(Partial const& other) {
    if (other.profile.log_sum_exp == -infinity) return;
    if (profile.log_sum_exp == -infinity) {
      *this = other;
      return;
    }
    double const top = std::max(profile.log_sum_exp, other.profile.log_sum_exp);
    double const both = top + std::log(std::exp(profile.log_sum_exp - top) + std::exp(other.profile.log_sum_exp - top));
    double const a = std::exp(profile.log_sum_exp - both), b = std::exp(other.profile.log_sum_exp - both);
    auto const entropy = [both](double w, reference::RowProfile const& p) { return w * (p.entropy_nats - p.log_sum_exp + both); };
    profile.entropy_nats = entropy(a, profile) + entropy(b, other.profile);
    profile.sum_p_squared = a * a * profile.sum_p_squared + b * b * other.profile.sum_p_squared;
    profile.p_max = std::max(a * profile.p_max, b * other.profile.p_max);
    profile.log_sum_exp = both;
    for (std::size_t c = 0; c < output.size(); ++c) output[c] = a * output[c] + b * other.output[c];
  }
};

inline Partial partial_of(std::vector<double> const& logits, std::vector<float> const& values, std::int64_t d) {
  Partial partial;
  if (logits.empty()) return partial;
  partial.profile = reference::profile(logits);
  if (!values.empty()) partial.output = reference::attention(reference::softmax(logits), values, d);
  return partial;
}

/// 2-norm.
inline double norm(float const* x, std::int64_t d) {
  double sum = 0.0;
  for (std::int64_t c = 0; c < d; ++c) sum += x[c] * double{x[c]};
  return std::sqrt(sum);
}

/// The larger of two residuals; what is no number counts as infinite.
inline void note(double& worst, double residual) { worst = std::isnan(residual) ? infinity : std::max(worst, residual); }

}  // namespace asymptop
