// The numbers of one case, draw by draw, and the verdict on them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/timing.hpp"
#include "row/tolerances.hpp"

namespace asymptop {

/// Values for (draw, row) or (draw, row, axis), row-major, appended as draws finish.
struct CaseData {
  std::vector<std::int64_t> row_n, row_position, k_epsilon, count_p_above, k_counted;
  std::vector<double> sigma_i, logit_mean, logit_std, logit_max, log_sum_exp, entropy_nats, sum_p_squared, p_max, participation_ratio;
  std::vector<double> k_counted_bound, tail_mass, row_l2_error, row_linf_error, output_error, output_error_relative;

  void append(CaseData const& more) {
    auto const join = [](auto& to, auto const& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (auto const member :
         {&CaseData::row_n, &CaseData::row_position, &CaseData::k_epsilon, &CaseData::count_p_above, &CaseData::k_counted})
      join(this->*member, more.*member);
    for (auto const member : {&CaseData::sigma_i, &CaseData::logit_mean, &CaseData::logit_std, &CaseData::logit_max, &CaseData::log_sum_exp,
                              &CaseData::entropy_nats, &CaseData::sum_p_squared, &CaseData::p_max, &CaseData::participation_ratio,
                              &CaseData::k_counted_bound, &CaseData::tail_mass, &CaseData::row_l2_error, &CaseData::row_linf_error,
                              &CaseData::output_error, &CaseData::output_error_relative}) {
      join(this->*member, more.*member);
    }
  }
};

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
  finite
};
inline constexpr std::array<char const*, 11> check_names = {"keys_seen",    "score_range",     "top_k_count", "quantiles_settled",
                                                            "audit_scores", "audit_metrics",   "sum_p",       "sum_p_direct",
                                                            "identity_kl",  "identity_output", "finite"};

/// Worst residual of each check over draws, per case.
struct CheckResiduals {
  std::array<double, check_names.size()> worst{};
  void note(Check check, double residual) {
    auto& value = worst[static_cast<std::size_t>(check)];
    value = std::isnan(residual) ? INFINITY : std::max(value, residual);
  }
};

/// Counts must be right; the rest is fp32's (tolerances.hpp).
inline std::array<double, check_names.size()> check_tolerances(std::int64_t d, double largest_logit) {
  double const sums = sums_tolerance(d, largest_logit);
  std::array<double, check_names.size()> tolerance{};
  auto const set = [&](Check check, double value) { tolerance[static_cast<std::size_t>(check)] = value; };
  set(Check::audit_scores, score_tolerance(d));
  set(Check::audit_metrics, sums);
  set(Check::sum_p, 1e-5);
  set(Check::sum_p_direct, sums);
  set(Check::identity_kl, 1e-5);
  set(Check::identity_output, sums);
  return tolerance;
}

}  // namespace asymptop
