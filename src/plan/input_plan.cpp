#include "plan/input_plan.hpp"

#include <algorithm>
#include <cmath>

#include "config/number_text.hpp"

namespace asymptop {
namespace {

/// What a coordinate of Student's t, among so many, exceeds with a chance of about 1%; at most the largest that is made.
double largest_student(InputKind const& kind, double count) {
  double const nu = kind.parameter, unit = nu > 2.0 ? std::sqrt((nu - 2.0) / nu) : 1.0;
  return unit * std::sqrt(nu) * std::min(std::pow(100.0 * count, 1.0 / nu), std::exp(66.0 * std::log(2.0) / (2.0 * nu)));
}

}  // namespace

double steepest_span(GroupPlan const& group) {
  double steepest = 0.0;
  for (auto const slope : group.form.alibi) steepest = std::max(steepest, std::fabs(slope));
  return steepest * exact_double(group.reach());
}

double widest_span(GroupPlan const& group) { return most_bins * (steepest_span(group) > 0.0 ? coarsest_bins : 1) / group.bins_per_unit; }

double score_span(GroupPlan const& group) {
  double const n = group.keys(), d = group.d, parameter = group.input.parameter;
  constexpr double of_products = 32.0;
  double const normal = of_products + steepest_span(group);
  if (group.input.is(Distribution::needle)) return normal + 2.0 * (std::sqrt(2.0 * std::log(n)) + parameter);
  if (group.input.is(Distribution::clusters)) return normal + 2.0 * std::sqrt(d);
  if (group.input.is(Distribution::student)) return std::min(normal + 4.0 * std::pow(n * d, 1.0 / parameter), 1e6 / group.bins_per_unit);
  return normal;
}

double cost_of_input(InputKind const& kind) {
  switch (kind.distribution) {
    case Distribution::gaussian:
    case Distribution::needle:
      return 1.0;
    case Distribution::uniform:
    case Distribution::rademacher:
      return 8.0;
    case Distribution::student:
      return 20.0;  // twice: once for the largest norm
    default:
      return 4.0;
  }
}

std::string reason_to_skip_input(GroupPlan const& group) {
  if (group.input.is(Distribution::needle) && group.counts.rows > group.n)
    return "the needles of a draw's " + std::to_string(group.counts.rows) + " rows must be among its " + std::to_string(group.n) + " keys";
  if (group.input.is(Distribution::student)) {
    double const n = group.keys(), d = group.d;
    double const largest = largest_student(group.input, n * d * group.counts.draws),
                 widest = most_bins * coarsest_bins / group.bins_per_unit / 2.0;
    if (largest > widest)
      return "its largest keys may reach " + formatted("%.4g", largest) + " and scores can be profiled up to " + formatted("%.4g", widest) +
             "; raise NU or lower --n, --draws or --sigma";
  }
  return "";
}

}  // namespace asymptop
