// From sums over what is kept and what is dropped to the numbers of a row: the one place that knows the formulas.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/profile/score_bins.hpp"
#include "row/row_metrics.hpp"

namespace asymptop {

/// A row cut in two by a kept set. All relative to the row's largest score: e^y, y = sigma (s - s_max).
struct CutSums {
  double z = 0.0;                         ///< of all keys, and of a sink
  double kept1 = 0.0, kept2 = 0.0;        ///< sums of e^y and e^2y over the keys that are kept; kept1 with the sink, which always is
  double dropped1 = 0.0, dropped2 = 0.0;  ///< and over those that are not, summed themselves
  double largest_dropped = 0.0;           ///< e^y of the largest
  double largest_kept = 1.0;
};

/// What a cut makes of every k: 0 where all keys are kept.
struct KeptErrors {
  double tail_mass = 0.0, row_l2 = 0.0, row_linf = 0.0;

  /// take(field, value) of each: the one list of the fields that they fill.
  template <class Take>
  void each(Take const& take) {
    take(RealField("tail_mass"), tail_mass);
    take(RealField("row_l2_error"), row_l2);
    take(RealField("row_linf_error"), row_linf);
  }

  /// Those of a k that the second pass settles.
  static KeptErrors open() {
    KeptErrors errors;
    errors.each([](RealField, double& value) { value = NAN; });
    return errors;
  }
};

/// Squares below this are not left to fp64, whose normal numbers end at 2e-308.
inline constexpr double small_square = 1e-280;
/// x / z^2, also where the square overflows.
inline double over_square(double x, double z) { return z < 1e150 ? x / (z * z) : x / z / z; }

/// With tau = dropped1 / z: ‖p - p_hat‖_2^2 = (tau / (1 - tau))^2 S2_kept + S2_dropped, and the largest of p_max tau / (1 - tau) and the p
/// that is dropped. relative_squares(): sum of (e / largest_dropped)^2 over the dropped keys, for those so far below the others that their
/// squares would underflow.
template <class RelativeSquares>
KeptErrors errors_of_cut(CutSums const& sums, RelativeSquares const& relative_squares) {
  double const ratio = sums.dropped1 / sums.kept1, e = sums.largest_dropped;  // ratio: tau / (1 - tau)
  double const square = ratio * ratio * sums.kept2 + sums.dropped2;
  KeptErrors errors;
  errors.tail_mass = sums.dropped1 / sums.z;
  errors.row_l2 = square > small_square || e == 0.0 ? std::sqrt(square) / sums.z
                                                    : e * std::sqrt(ratio / e * (ratio / e) * sums.kept2 + relative_squares()) / sums.z;
  errors.row_linf = std::max(ratio * sums.largest_kept, e) / sums.z;
  return errors;
}

/// The same where what is kept is so far below the row's best that e^y leaves fp64: with K1, K2 the sums of e and e^2 over the kept keys
/// relative to the largest of them, K1 with the sink in it, p_hat is known all the same, and p - p_hat = -tau p_hat there.
inline KeptErrors errors_of_faint_cut(CutSums const& sums, double relative1, double relative2) {
  double const tau = sums.dropped1 / sums.z, kept = tau * std::sqrt(relative2) / relative1;
  return {tau, std::sqrt(kept * kept + sums.dropped2 / sums.z / sums.z), std::max(tau / relative1, sums.largest_dropped / sums.z)};
}

/// The errors at the next k of the axis. counted: how many keys are kept.
inline void add_errors(RowMetrics& metrics, KeptErrors errors, std::int64_t counted) {
  errors.each([&](RealField field, double value) { metrics.real(field).push_back(value); });
  metrics.count("k_counted").push_back(counted);
  metrics.real("k_counted_bound").push_back(0.0);
}

/// The same at a k that was left open.
inline void settle_errors(RowMetrics& metrics, std::size_t item, KeptErrors errors, std::int64_t counted, double bound) {
  errors.each([&](RealField field, double value) { metrics.real(field)[item] = value; });
  metrics.count("k_counted")[item] = counted;
  metrics.real("k_counted_bound")[item] = bound;
}

/// log of the denominator z of a row, which a sink may have made infinite.
inline double log_denominator(RowMetrics const& metrics, double z) { return std::isinf(z) ? metrics.log_sink : std::log(z); }

/// What depends on no kept set. Over the keys, without a sink: z1: sum of e^y; h: sum of y e^y; z2: sum of e^2y. metrics.z, its sink and
/// logit_max are there. p are shares of the denominator z; entropy and participation ratio say how evenly the keys share what they have, so
/// they are those of p / (1 - sink_mass) and reach log n and n.
inline void sums_of_row(RowMetrics& metrics, double z1, double z2, double h) {
  double const z = metrics.z;
  metrics.one("log_sum_exp") = metrics.one("logit_max") + log_denominator(metrics, z);
  metrics.one("entropy_nats") = std::log(z1) - h / z1;
  metrics.one("sum_p_squared") = over_square(z2, z);
  metrics.one("p_max") = 1.0 / z;
  metrics.one("participation_ratio") = metrics.sink > 0.0 ? z1 / z2 * z1 : 1.0 / metrics.one("sum_p_squared");
  metrics.one("sink_mass") = std::isinf(z) ? 1.0 : metrics.sink / z;
}

}  // namespace asymptop
