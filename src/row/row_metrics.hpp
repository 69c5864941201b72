// The metrics of one row (the table is row/fields.hpp), from its sorted head and its binned profile.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/core/candidate.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/profile/score_bins.hpp"
#include "row/field_values.hpp"

namespace asymptop {

/// What the metrics are asked for, common to all rows of a case group.
struct MetricAxes {
  std::vector<std::int64_t> k;  ///< ascending, from 1
  std::vector<double> sigma;    ///< factor from scores to logits, one per law
  std::vector<double> epsilon;
  std::int64_t held = INT64_MAX;  ///< largest k that the head serves; the errors at larger ones are counted at thresholds
  double softcap = 0.0;           ///< of the scores; 0: none
};

/// The fields of one row under one law that come from its logits. Real ones of the row itself are NaN until a formula fills them, which
/// makes a case invalid.
struct RowMetrics : FieldValues {
  RowMetrics() {
    each({.by_thresholds = true, .output_error = true, .sinks = true, .softcap = true}, [](RowField const& field, auto& values) {
      if (field.axis != Axis::row || field.source != Source::logits) return;
      using Value = std::decay_t<decltype(values)>::value_type;
      values.assign(1, std::is_same_v<Value, double> ? static_cast<Value>(NAN) : Value{});
    });
  }
  double& one(RealField field) { return real(field).front(); }
  double one(RealField field) const { return real(field).front(); }

  double z = 0.0;               ///< sum of e^{sigma (s - s_max)}, the sink's in it; infinite where that is, and all p of keys are 0
  double sink = 0.0;            ///< the part of z that is no key's
  double log_sink = -INFINITY;  ///< its logarithm, also where it leaves fp64
  double of_keys = 1.0;         ///< the share of z that is the keys', summed itself
  /// The same relative to a score `below` the row's largest one, in logits.
  double sink_beside(double below) const { return std::exp(log_sink + below); }
};

/// A row's merged profile: bins of all its keys.
struct RowBins {
  BinGrid grid;
  int first_bin = 0;
  std::vector<BinMoments> bins;
  double width() const { return 1.0 / grid.bins_per_unit; }
  int count() const { return int_size(bins); }
  double centre(int bin) const { return (first_bin + bin) * width(); }
};

/// A question that the head and the bins leave open, for the second pass: how many scores of a bin exceed something.
struct Probe {
  enum class Kind { k_epsilon, count_above, rank };
  Kind kind;
  int law;
  int item;  ///< which epsilon, threshold or k
  int bin;
  float low, high;  ///< scores in (low, high] are collected, those above high counted
  std::int64_t capacity;
  std::int64_t keys_above_bin;  ///< exact
  // For k_epsilon: the search inside the bin.
  BinMoments bin_total{};
  double mass_below_bin = 0.0;      ///< sum of e^y over lower bins
  double target = 0.0;              ///< epsilon * z
  float bracket_low, bracket_high;  ///< the answer's score lies in (bracket_low, bracket_high]
  double half_width = 0.0;          ///< of the next window, in bins
  // For rank: sums over the bins below, per law.
  std::vector<ExponentialSums> below{};
};

/// What the second pass found for a probe.
struct ProbeAnswer {
  BinMoments above;              ///< scores of the bin above `high`
  std::int64_t inside = 0;       ///< scores in (low, high]
  std::vector<float> collected;  ///< those, unless there were more than the capacity
};

/// Sums of e^{sigma (s - top)} over the keys in bins.
ExponentialSums sum_bins(std::vector<BinMoments> const& moments, RowBins const& grid, double sigma, double top);

struct RowEvaluation {
  std::vector<RowMetrics> laws;
  std::vector<Probe> open;
  std::vector<double> sum_p;        ///< per law: |head + tail - all bins| / all bins
  std::vector<double> identity_kl;  ///< per law: |tau - (1 - e^-KL)| / tau
  bool in_range = true;             ///< no score in the outermost bins
  std::int64_t keys_seen = 0;
};

/// The keys that a row's head does not hold.
struct BeyondHead {
  std::vector<ExponentialSums> sums;  ///< per law
  std::vector<BinMoments> bins;       ///< empty where there are none
};
BeyondHead beyond_head(std::vector<Candidate> const& head, RowBins const& bins, MetricAxes const& axes, std::int64_t visible);

/// head: the row's best candidates, at least min(visible, k_max + 1) of them, best first.
/// thresholds: on p, at this row's n. sink: a logit (of the unit of sigma s) that is in the denominator and no key's; -infinity: none.
RowEvaluation evaluate_row(std::vector<Candidate> const& head, RowBins const& bins, MetricAxes const& axes,
                           std::vector<double> const& thresholds, std::int64_t visible, double sink = -INFINITY);

/// Settles a probe: stores its value in the metrics and returns true, or narrows its window and returns false.
bool settle(Probe& probe, ProbeAnswer& answer, RowBins const& grid_only, RowMetrics& metrics, double sigma, double score_max);

/// Settles a rank probe: the errors at its k, of every law, are those of the keys counted above its threshold.
void settle_rank(Probe const& probe, ProbeAnswer const& answer, RowBins const& grid_only, std::vector<RowMetrics>& laws,
                 MetricAxes const& axes, double score_max);

}  // namespace asymptop
