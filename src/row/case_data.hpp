// The numbers of one case, draw by draw, and the verdict on them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/timing.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/profile/score_bins.hpp"
#include "row/field_values.hpp"
#include "row/tolerances.hpp"

namespace asymptop {

/// Values for (draw, row) or (draw, row, axis), row-major, appended as draws finish.
using CaseData = FieldValues;

/// The self-checks: residuals that a wrong answer would push over its tolerance.
enum class Check {
  keys_seen,
  score_range,
  top_k_count,
  quantiles_settled,
  audit_scores,
  audit_metrics,
  sum_p,
  sum_p_direct,
  identity_kl,
  identity_output,
  finite,
  selection,
  output_rounding,
  softcap_ties
};
inline constexpr std::array<char const*, 14> check_names = {
    "keys_seen",   "score_range",     "top_k_count", "quantiles_settled", "audit_scores",    "audit_metrics", "sum_p", "sum_p_direct",
    "identity_kl", "identity_output", "finite",      "selection",         "output_rounding", "softcap_ties"};
/// Those of a case.
inline std::vector<Check> checks_of(FieldAxes const& axes) {
  std::vector<Check> checks;
  for (std::size_t i = 0; i < check_names.size(); ++i) {
    auto const check = static_cast<Check>(i);
    bool const has = check == Check::selection         ? axes.by_selector
                     : check == Check::output_rounding ? axes.output_error && axes.of_file
                     : check == Check::softcap_ties    ? axes.softcap
                                                       : true;
    if (has) checks.push_back(check);
  }
  return checks;
}

/// Where a check stands among them.
constexpr std::size_t place_of(Check check) { return static_cast<std::size_t>(check); }

/// Worst residual of each check over draws, per case.
struct CheckResiduals {
  std::array<double, check_names.size()> worst{};
  double bin_width = 0.0;      ///< of the widest bins that logits were summed over, in the logits' unit
  double largest_logit = 0.0;  ///< largest |logit_max| or |logit_mean| of a row, of keys less their common offset, as they are multiplied
  void note(Check check, double residual) { add(worst[place_of(check)], residual); }
  double of(Check check) const { return worst[place_of(check)]; }
  /// So many of them went wrong.
  void count(Check check, std::int64_t wrong) { note(check, exact_double(wrong)); }
  void note(CheckResiduals const& other) {
    for (std::size_t i = 0; i < worst.size(); ++i) add(worst[i], other.worst[i]);
    bin_width = std::max(bin_width, other.bin_width);
    largest_logit = std::max(largest_logit, other.largest_logit);
  }

 private:
  static void add(double& value, double residual) { value = std::isnan(residual) ? INFINITY : std::max(value, residual); }
};

/// Width of the widest bins that a plan has, in the logits' unit. Those of a draw are wider where its logits span too many.
inline constexpr double planned_bin_width = 1.0 / 32.0;

/// Counts must be right; the rest is fp32's (tolerances.hpp), and what bins wider than planned add. bin_width: CheckResiduals'.
inline std::array<double, check_names.size()> check_tolerances(std::int64_t d, double largest_logit, double bin_width) {
  double const sums = sums_tolerance(d, largest_logit),
               binned = 1e-5 + bin_error(std::max(bin_width, planned_bin_width)) - bin_error(planned_bin_width);
  std::array<double, check_names.size()> tolerance{};
  auto const set = [&](Check check, double value) { tolerance[place_of(check)] = value; };
  set(Check::audit_scores, score_tolerance(d));
  set(Check::audit_metrics, sums);
  set(Check::sum_p, binned);
  set(Check::sum_p_direct, sums);
  set(Check::identity_kl, binned);
  set(Check::identity_output, sums);
  set(Check::selection, 1e-12);
  set(Check::output_rounding, most_rounding);
  set(Check::softcap_ties, most_rounding);
  return tolerance;
}

}  // namespace asymptop
