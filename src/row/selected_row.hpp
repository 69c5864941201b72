// The metrics of a row under a selector: of the keys that it keeps, beside those of largest score.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/types.hpp"
#include "row/case_data.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// The beginning of a selector's order on one row's keys.
struct SelectedKeys {
  std::vector<GlobalIndex> keys;      ///< in order; distinct
  std::vector<float> scores;          ///< their true scores; of those in the row's head they are not read
  std::vector<std::int64_t> ends;     ///< keys after each entry: a key, or a page
  std::vector<std::int64_t> entries;  ///< per k of the axis: entries that it pays for
};

/// Whether each of the keys is in the row's head: the others' scores are to be found.
std::vector<char> in_head(OwnedRow const& row, std::vector<GlobalIndex> const& keys);

/// What is kept at each k, and the errors of it, under every law. `row` has its head, of at least as many keys as any k keeps and one
/// more, and is evaluated. With S the kept set, K as many best keys, T what lies beyond the head:
///   dropped = (head without S) + (T without S), each added up itself, and T without S as T less the keys of S in it: those are no more
///   than the head's keys that S lacks, each of which weighs as much, so nothing cancels;
///   regret  = (sum of K without S - sum of S without K) / Z.
/// k_epsilon: keys of the smallest kept set with tail_mass <= epsilon, -1 where these keys are too few.
std::vector<RowMetrics> selected_metrics(OwnedRow const& row, SelectedKeys const& selected, MetricAxes const& axes,
                                         std::vector<CheckResiduals>& checks);

/// The largest score of the keys that each budget of `kept` keys adds to those before it; -infinity where it adds none.
std::vector<float> references_of_budgets(OwnedRow const& row, SelectedKeys const& selected, std::vector<std::int64_t> const& kept);

/// The output errors of a law: ‖sum over all keys of p v - sum over the kept ones of p_hat v‖, from sums over the keys that each budget
/// adds to the one before, (k, d + 1): d entries of e^{sigma (s - reference)} v, then the weight. Known to some 1e-7 of the output's norm:
/// the two are made by fp32 and by fp64 exponentials.
void selected_output_errors(OwnedRow const& row, std::size_t law, double sigma, std::vector<double> const& sums,
                            std::vector<float> const& references, RowMetrics& metrics);

}  // namespace asymptop
