// One row of softmax attention in a set of formats, stage by stage, and what is measured on the weights that it stores.
//
//   logits      s' = round(s)                      M = max s', exact
//   difference  y = round(s' - M)
//   exp         e = round(exp(y))                  exp in fp64 to 1e-15: it may round the other way within that of a midpoint; 0 below
//   e^-700 sum         Z = sum of round(e), every addition rounded (core/rounded_sum.hpp) p           p = round(e / Z) the quotient in
//   fp64: correctly rounded where e and Z have at most 24 bits
//
// Each round() is to the format of its stage.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/core/enum_array.hpp"
#include "precision/config.hpp"
#include "precision/largest_entries.hpp"

namespace asymptop {

/// What a row is asked for.
struct PrecisionAxes {
  std::vector<std::int64_t> k;    ///< ascending, each once
  std::vector<double> threshold;  ///< on p
};

/// Of the stored p of one row, in fp64 (sums to log2(n) 2^-53). Shares of the row's mass are those of p / sum p. A row whose p are all 0
/// has no mass: its tail_mass is 1, and its entropy and participation_ratio are 0.
struct PrecisionMetrics {
  double normaliser = 0.0;           ///< Z; infinite where the format overflowed
  double sum_p = 0.0;                ///< of the stored p
  double sum_p_in_format = 0.0;      ///< the same added up in the format and order of the sum
  double entropy_nats = 0.0;         ///< of p / sum p
  double participation_ratio = 0.0;  ///< (sum p)^2 / sum p^2
  double p_max = 0.0;
  std::int64_t zeros = 0;                   ///< p that are exactly 0
  std::vector<std::int64_t> count_p_above;  ///< per threshold
  std::vector<double> tail_mass;            ///< per k: share of the p beyond the k largest p
  std::vector<double> missed_mass;          ///< per k: mass in fp64 of the k largest entries in fp64, less that of the k largest p
};

/// Residuals of a row's self-checks: what a wrong answer would push over its tolerance.
enum class PrecisionCheck { sum_p, head_and_tail, selected, in_format, audit_stages, sum_bound, missed, finite };
inline constexpr std::array<char const*, 8> precision_check_names = {"sum_p",        "head_and_tail", "selected", "in_format",
                                                                     "audit_stages", "sum_bound",     "missed",   "finite"};
/// Counts must be right, sums hold to fp64's rounding, rounded sums to the bound of their order; `audit_stages` is the share of entries
/// whose p another method makes otherwise, which may happen next to a midpoint.
inline constexpr std::array<double, 8> precision_check_tolerances = {1e-12, 1e-12, 0.0, 0.0, 1e-3, 1.0, 1e-13, 0.0};

struct PrecisionResiduals {
  EnumArray<PrecisionCheck, double, precision_check_names.size()> worst;
  void note(PrecisionCheck check, double residual);
  void note(PrecisionResiduals const& others);
};

/// A row of logits in fp64 and its weights, with room for those of one set of formats after another.
class RoundedRow {
 public:
  /// z: n standard normal numbers; the logits are sigma z. axes must outlive the row.
  RoundedRow(std::vector<double> const& z, double sigma, PrecisionAxes const& axes, std::int64_t block);

  /// fp64 throughout, pairwise: the same as evaluate() of that set.
  PrecisionMetrics const& reference() const { return reference_; }

  /// The row in a set of formats. checks: also checks itself.
  PrecisionMetrics evaluate(PrecisionSet const& set, PrecisionResiduals* checks);

  /// The weights that the last evaluate() stored.
  std::vector<double> const& weights() const { return p_; }

 private:
  class Exponential;
  double weigh(PrecisionSet const& set);
  PrecisionMetrics measure(PrecisionSet const& set, double normaliser) const;
  /// Sum of weights[i] over the entries that `largest`, a selection among p_, leaves out.
  double mass_beyond(LargestEntries const& largest, double const* weights) const;
  void check(PrecisionSet const& set, PrecisionMetrics const& metrics, PrecisionResiduals& checks) const;
  /// Error of Z over its bound.
  double sum_residual(PrecisionSet const& set, double normaliser) const;
  /// Share of some entries whose p is not what another method makes.
  double audit(PrecisionSet const& set, double normaliser) const;

  std::vector<double> const& z_;
  double sigma_;
  PrecisionAxes const& axes_;
  std::int64_t n_, block_;
  double z_max_;
  std::vector<double> exact_, p_;
  std::vector<LargestEntries> exact_largest_;
  std::vector<double> exact_tail_;  ///< per k
  PrecisionMetrics reference_;
};

}  // namespace asymptop
