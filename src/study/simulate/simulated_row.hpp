// The metrics of a simulated row: formulas as in row/row_metrics.hpp, over drawn ranks and the blocks of keys between them.
#pragma once

#include <vector>

#include "row/case_data.hpp"
#include "row/row_metrics.hpp"
#include "study/simulate/order_statistics.hpp"

namespace asymptop {

/// Every number of one row under one sigma. Tails are summed themselves, from the smallest up; a row error below 1e-154, where squares
/// vanish, may be low by a factor of sqrt(2).
/// k_epsilon and count_p_above may fall inside a block of m keys. The tail mass is then taken to follow its expected course between the
/// block's ends, scaled to the block's drawn sum: k_epsilon misses a fluctuation of at most sqrt(m) / 2, which is below 0.25% of k. The
/// keys above a threshold are a binomial number, drawn as a normal one.
/// thresholds: on p, at the row's n.
RowMetrics evaluate_simulated_row(OrderStatistics const& row, DrawnRanks const& ranks, double sigma, MetricAxes const& axes,
                                  std::vector<double> const& thresholds);

/// What must hold of a row and its metrics: keys counted, scores descending (`score_range`), errors descending in k (`top_k_count`),
/// k_epsilon between the ranks whose tails bracket it (`quantiles_settled`), sum p = 1 in two orders, the identity of total variation and
/// KL.
void check_simulated_row(OrderStatistics const& row, DrawnRanks const& ranks, double sigma, MetricAxes const& axes,
                         RowMetrics const& metrics, CheckResiduals& checks);

/// Largest relative change of the blocks' expected sums of e^s, e^2s and s e^s when quadrature nodes are doubled (`audit_metrics`).
double quadrature_residual(OrderStatistics const& row, DrawnRanks const& ranks, double sigma);

}  // namespace asymptop
