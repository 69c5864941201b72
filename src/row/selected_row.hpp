// The metrics of a row under a selector: of the keys that it keeps, beside those of largest score.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/types.hpp"
#include "row/case_data.hpp"
#include "row/head_ranks.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// The beginning of a selector's order on one row's keys.
struct SelectedKeys {
  std::vector<GlobalIndex> keys;      ///< in order; distinct
  std::vector<float> scores;          ///< their true scores; NaN: not known yet
  std::vector<std::int64_t> ends;     ///< keys after each entry: a key, or a page
  std::vector<std::int64_t> entries;  ///< per k of the axis: entries that it pays for
  /// Of an estimator, how many come first with weight 1; the others are drawn without replacement from what the row sees beside them. -1:
  /// keys have no weights.
  std::int64_t forced = -1;

  /// Whether forced keys and others weigh differently: else weights cancel in the output.
  bool weighs() const { return forced > 0; }
};

/// One over the chance that a key which is not forced is among `kept` keys of a row that sees `visible`.
inline double sampled_weight(std::int64_t visible, std::int64_t forced, std::int64_t kept) {
  return kept > forced ? exact_double(visible - forced) / exact_double(kept - forced) : 0.0;
}

/// The scores of those keys that are in the row's head; NaN of others that have none.
void score_from_head(OwnedRow const& row, HeadRanks const& rank_of, SelectedKeys& selected);

/// What is kept at each k, and the errors of it, under every law. `row` has its head, of at least as many keys as any k keeps and one
/// more, and is evaluated. With S the kept set, K as many best keys, T what lies beyond the head:
///   dropped = (head without S) + (T without S), each added up itself, and T without S as T less the keys of S in it: those are no more
///   than the head's keys that S lacks, each of which weighs as much, so nothing cancels;
///   regret  = (sum of K without S - sum of S without K) / Z.
/// A learned sink is in Z and in what is kept, of every set.
/// k_epsilon: keys of the smallest kept set with tail_mass <= epsilon, -1 where these keys are too few, 0 where a sink leaves no more.
std::vector<RowMetrics> selected_metrics(OwnedRow const& row, SelectedKeys const& selected, MetricAxes const& axes,
                                         std::vector<CheckResiduals>& checks);

/// What of a row depends on no kept set: for selectors that keep another set at every k.
RowMetrics without_errors(RowMetrics const& oracle);

/// The numbers of such a set at the next k.
void add_kept(RowMetrics& metrics, std::int64_t kept, double tail_mass);
void add_kept(RowMetrics& metrics, std::int64_t kept, double tail_mass, double denominator_error);

/// Where sums over the kept keys are cut: at how many keys each k keeps, and, where keys weigh, at the forced ones.
std::vector<std::int64_t> cuts_of(SelectedKeys const& selected, RowMetrics const& metrics);

/// The largest score of the keys that each cut adds to those before it; -infinity where it adds none.
std::vector<float> references_of_cuts(SelectedKeys const& selected, std::vector<std::int64_t> const& cuts);

/// The output error at the next k: of d entries of a sum of w e^y v, v as OwnedRow::outputs have it, then the sum of w e^y, which is 0
/// without a key, and the output with it. sink: e^y of a learned sink, which is kept
/// beside them (0: none), relative to the same score (RowMetrics::sink_beside()); exact where all keys are kept.
void add_output_error(OwnedRow const& row, std::size_t law, double const* estimate, double sink, bool exact, RowMetrics& metrics);

/// The output errors of a law: ‖sum over all keys of p v - sum over the kept ones of p_hat v‖, from sums over the keys that each cut adds
/// to the one before, (cuts, d + 1): d entries of e^{sigma (s - reference)} v, then the weight. Known to some 1e-7 of the output's norm:
/// the two are made by fp32 and by fp64 exponentials.
void selected_output_errors(OwnedRow const& row, SelectedKeys const& selected, std::size_t law, double sigma,
                            std::vector<double> const& sums, std::vector<float> const& references, RowMetrics& metrics);

}  // namespace asymptop
