// The owner's side of a row: its evaluation, what it asks of the second pass, and what it makes of the answers.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/candidate.hpp"
#include "kernels/core/key_ranges.hpp"
#include "row/case_data.hpp"
#include "row/row_metrics.hpp"

namespace asymptop {

/// A row after the first pass, on the rank that owns it.
struct OwnedRow {
  int row;               ///< in the batch
  std::int64_t visible;  ///< keys that it sees
  std::int64_t from;     ///< the first of them in the context
  RowEvaluation evaluation;
  std::vector<Candidate> boundaries;            ///< the last key of each segment
  std::vector<std::int64_t> ranks;              ///< its rank in the row: k of the boundary
  std::vector<float> references;                ///< boundaries + 1: the largest score of each segment, and of the keys below them
  std::int64_t above_edge = 0, equal_edge = 0;  ///< head scores above and equal to the last boundary's
  std::int64_t head_lacks = 0;                  ///< keys that the head should hold and does not
  float score_max = 0.0f;
  RowBins grid_only;            ///< grid and first bin; the bins themselves are let go
  std::vector<Candidate> head;  ///< kept where selectors follow, and what lies beyond it
  BeyondHead beyond;
  std::vector<std::vector<RowMetrics>> selected;  ///< (selectors, laws)
  /// Per law, where the head is kept: d entries of sum e^{sigma (s - score_max)} v, of values less what was taken from all of them.
  std::vector<std::vector<double>> outputs;
  std::vector<float> const* value_offset = nullptr;  ///< (d): that; null: nothing

  KeyRun seen() const { return {from, from + visible}; }
};

/// Evaluates a row and cuts its head into segments at the ranks of `axes.k`. all: its best keys, of which min(seen.size(), axes.held + 1)
/// are its head. keep: all of them, for selected_metrics(). sink: as evaluate_row()'s.
OwnedRow own_row(int row, std::vector<Candidate> const& all, RowBins bins, MetricAxes const& axes, std::vector<double> const& thresholds,
                 KeyRun const& seen, bool keep = false, double sink = -INFINITY);

/// What sums of values are sums of.
struct ValueSums {
  std::vector<float> const* offset;  ///< (d): what was taken from all values; empty: nothing. Outlives the row
  double resolution;                 ///< a number that is added is rounded to multiples of it
  bool of_file;                      ///< output_error_rounding is wanted
};

/// Fills output errors from segment sums (boundaries + 1, d + 1) as doubles: d entries of sum e^{sigma (s - reference)} v, then
/// the sum of weights. Uses (p - p_hat) V = T / Z - tau H / Z_head, which does not cancel. An offset c of the values that was taken off
/// adds c (sum of p - sum of p_hat) = c tau sink / (H + sink), H the sum of kept weights: 0 without a learned sink.
void output_errors(OwnedRow& row, std::size_t law, double sigma, std::vector<double> const& sums, std::size_t d,
                   std::vector<std::int64_t> const& ks, CheckResiduals& checks, ValueSums const& values = {nullptr, 0.0, false});

/// Compares a row's metrics with those of fp64 segment sums (boundaries + 1, 4): e^y, e^{2y}, y e^y, count.
void audit_row(OwnedRow const& row, std::size_t law, double sigma, std::vector<double> const& sums, std::vector<std::int64_t> const& ks,
               CheckResiduals& checks);

}  // namespace asymptop
