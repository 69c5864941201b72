#include "row/selected_row.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/select/sums_along.hpp"
#include "row/segment_sums.hpp"

namespace asymptop {
namespace {

/// Sums of e^y below this lose digits, and their squares all of them.
constexpr double faint = 1e-140;

}  // namespace

RowMetrics without_errors(RowMetrics const& oracle) {
  auto metrics = oracle;
  metrics.each({.by_thresholds = true, .output_error = true}, [](RowField const& field, auto& values) {
    if (field.axis == Axis::k || field.axis == Axis::epsilon) values.clear();
  });
  return metrics;
}

namespace {

/// A row's head and a selector's order on it.
class SelectedRow {
 public:
  SelectedRow(OwnedRow const& row, SelectedKeys const& selected) : row_(row), selected_(selected), taken_(row.head.size(), 0) {
    HeadRanks const rank_of(row.head);
    ranks_.reserve(selected.keys.size());
    for (auto const key : selected.keys) {
      ranks_.push_back(rank_of(key));
      if (ranks_.back() != HeadRanks::none) taken_[ranks_.back()] = 1;
    }
  }

  /// Keys that are there twice, or that the row does not see.
  double wrong_keys() const {
    auto const& keys = selected_.keys;
    KeyPlaces const places(keys.size(), [&keys](std::size_t i) { return keys[i]; });
    bool const outside = std::any_of(keys.begin(), keys.end(), [&](auto key) { return !row_.seen().holds(key); });
    return exact_double(places.repeated()) + (outside ? 1.0 : 0.0);
  }

  RowMetrics metrics(std::size_t law, MetricAxes const& axes, CheckResiduals& checks) const;

 private:
  std::int64_t count() const { return std::ssize(selected_.keys); }
  double top() const { return row_.score_max; }
  double score(std::int64_t place) const { return selected_.scores[place]; }
  /// e^y of the place-th key.
  double exponential(double sigma, std::int64_t place) const { return std::exp(sigma * (score(place) - top())); }
  KeptErrors errors_of_faint(CutSums const& cut, RowMetrics const& of, double sigma, std::int64_t kept) const;
  ExponentialSums rest(double sigma, ExponentialSums const& beyond) const;
  /// Sum of e^{2 sigma (s - unit_score)} over the dropped keys.
  double relative_squares(double sigma, std::int64_t kept, double unit_score) const;
  double regret(double sigma, std::int64_t kept) const;
  double recall(std::int64_t kept) const;

  OwnedRow const& row_;
  SelectedKeys const& selected_;
  std::vector<std::int64_t> ranks_;
  std::vector<char> taken_;  ///< per key of the head
};

/// Over the keys that are not in the order's beginning.
ExponentialSums SelectedRow::rest(double sigma, ExponentialSums const& beyond) const {
  auto const outside = std::count(ranks_.begin(), ranks_.end(), HeadRanks::none);
  ExponentialSums sums;
  if (outside < row_.visible - std::ssize(row_.head)) {
    sums = beyond;
    for (std::int64_t i = 0; i < count(); ++i) {
      if (ranks_[i] != HeadRanks::none) continue;
      double const e = exponential(sigma, i);
      sums.z1 -= e;
      sums.z2 -= e * e;
    }
    sums.z1 = std::max(sums.z1, 0.0);
    sums.z2 = std::max(sums.z2, 0.0);
  }
  for (std::size_t i = row_.head.size(); i-- > 0;) {
    if (taken_[i] != 0) continue;
    double const e = std::exp(sigma * (row_.head[i].score - top()));
    sums.z1 += e;
    sums.z2 += e * e;
  }
  return sums;
}

KeptErrors SelectedRow::errors_of_faint(CutSums const& cut, RowMetrics const& of, double sigma, std::int64_t kept) const {
  double best = -std::numeric_limits<double>::infinity(), relative1 = 0.0, relative2 = 0.0;
  for (std::int64_t i = 0; i < kept; ++i) best = std::max(best, score(i));
  for (std::int64_t i = 0; i < kept; ++i) {
    double const e = std::exp(sigma * (score(i) - best));
    relative1 += e;
    relative2 += e * e;
  }
  relative1 += of.sink_beside(sigma * (top() - best));
  return errors_of_faint_cut(cut, relative1, relative2);
}

double SelectedRow::regret(double sigma, std::int64_t kept) const {
  std::vector<char> both(kept, 0);
  double worse = 0.0, better = 0.0;
  for (std::int64_t i = kept; i-- > 0;) {
    if (ranks_[i] != HeadRanks::none && ranks_[i] < kept) {
      both[ranks_[i]] = 1;
    } else {
      worse += exponential(sigma, i);
    }
  }
  for (std::int64_t i = kept; i-- > 0;) {
    if (both[i] == 0) better += std::exp(sigma * (row_.head[i].score - top()));
  }
  return better - worse;
}

double SelectedRow::recall(std::int64_t kept) const {
  auto const end = ranks_.begin() + kept;
  auto const found = std::count_if(ranks_.begin(), end, [kept](auto rank) { return rank != HeadRanks::none && rank < kept; });
  return exact_double(found) / exact_double(kept);
}

double SelectedRow::relative_squares(double sigma, std::int64_t kept, double unit_score) const {
  auto dropped = std::vector<char>(row_.head.size(), 1);
  for (std::int64_t i = 0; i < kept; ++i) {
    if (ranks_[i] != HeadRanks::none) dropped[ranks_[i]] = 0;
  }
  double sum = sum_bins(row_.beyond.bins, row_.grid_only, sigma, unit_score).z2;
  for (std::int64_t i = 0; i < kept; ++i) {
    if (ranks_[i] == HeadRanks::none) sum -= std::exp(2.0 * sigma * (selected_.scores[i] - unit_score));
  }
  sum = std::max(sum, 0.0);
  for (std::size_t i = row_.head.size(); i-- > 0;) {
    if (dropped[i] != 0) sum += std::exp(2.0 * sigma * (row_.head[i].score - unit_score));
  }
  return sum;
}

RowMetrics SelectedRow::metrics(std::size_t law, MetricAxes const& axes, CheckResiduals& checks) const {
  auto const& oracle = row_.evaluation.laws[law];
  double const sigma = axes.sigma[law], z = oracle.z;
  auto metrics = without_errors(oracle);
  auto const left = rest(sigma, row_.beyond.sums[law]);
  auto const sums = sums_along(
      selected_.keys.size(), [&](std::size_t i) { return exponential(sigma, i); },
      [&](std::int64_t i) { return i + 1 == count() ? left : ExponentialSums{}; });
  // Along the axis: the largest kept key, and the best key of the head that is not kept.
  double largest_kept = 0.0;
  std::int64_t seen = 0;
  std::vector<char> kept_of_head(row_.head.size(), 0);
  std::size_t best_dropped = 0;
  for (std::size_t item = 0; item < axes.k.size(); ++item) {
    auto const entries = std::min(selected_.entries[item], std::ssize(selected_.ends));
    auto const kept = axes.k[item] >= row_.visible ? row_.visible : selected_.ends[entries - 1];
    metrics.count("kept").push_back(kept);
    if (kept == row_.visible) {
      add_errors(metrics, {}, kept);
      metrics.real("regret").push_back(0.0);
      metrics.real("recall").push_back(1.0);
      if (selected_.forced >= 0) metrics.real("denominator_error").push_back(0.0);
      continue;
    }
    for (; seen < kept; ++seen) {
      largest_kept = std::max(largest_kept, sums.e[seen]);
      if (ranks_[seen] != HeadRanks::none) kept_of_head[ranks_[seen]] = 1;
    }
    while (kept_of_head[best_dropped] != 0) ++best_dropped;
    double const best_score = row_.head[best_dropped].score;
    CutSums const cut{z,
                      sums.kept1[kept] + oracle.sink,
                      sums.kept2[kept],
                      sums.dropped1[kept],
                      sums.dropped2[kept],
                      std::exp(sigma * (best_score - top())),
                      largest_kept};
    auto const errors = cut.kept1 > faint ? errors_of_cut(cut, [&] { return relative_squares(sigma, kept, best_score); })
                                          : errors_of_faint(cut, oracle, sigma, kept);
    add_errors(metrics, errors, kept);
    double const more = regret(sigma, kept);
    checks.note(Check::selection, more < 0.0 ? -more / cut.dropped1 : 0.0);
    metrics.real("regret").push_back(more / z);
    metrics.real("recall").push_back(recall(kept));
    if (selected_.forced < 0) continue;
    double const weight = sampled_weight(row_.visible, selected_.forced, kept),
                 sampled = kept > selected_.forced ? sums.kept1[kept] - sums.kept1[selected_.forced] : 0.0;
    metrics.real("denominator_error").push_back(std::fabs((weight - 1.0) * sampled - cut.dropped1) / z);
  }
  for (auto const epsilon : axes.epsilon) {
    if (oracle.sink > 0.0 && sums.dropped1.front() <= epsilon * z) {
      metrics.count("k_epsilon").push_back(0);
      continue;
    }
    auto const enough =
        std::find_if(selected_.ends.begin(), selected_.ends.end(), [&](auto end) { return sums.dropped1[end] <= epsilon * z; });
    metrics.count("k_epsilon").push_back(enough == selected_.ends.end() ? -1 : *enough);
  }
  return metrics;
}

}  // namespace

void score_from_head(OwnedRow const& row, HeadRanks const& rank_of, SelectedKeys& selected) {
  selected.scores.resize(selected.keys.size(), std::numeric_limits<float>::quiet_NaN());
  for (std::size_t i = 0; i < selected.keys.size(); ++i) {
    if (auto const rank = rank_of(selected.keys[i]); rank != HeadRanks::none) selected.scores[i] = row.head[rank].score;
  }
}

std::vector<RowMetrics> selected_metrics(OwnedRow const& row, SelectedKeys const& selected, MetricAxes const& axes,
                                         std::vector<CheckResiduals>& checks) {
  SelectedRow const order(row, selected);
  std::vector<RowMetrics> laws;
  for (std::size_t law = 0; law < axes.sigma.size(); ++law) {
    checks[law].note(Check::selection, order.wrong_keys());
    laws.push_back(order.metrics(law, axes, checks[law]));
  }
  return laws;
}

void add_kept(RowMetrics& metrics, std::int64_t kept, double tail_mass) {
  metrics.count("kept").push_back(kept);
  metrics.count("k_counted").push_back(kept);
  metrics.real("k_counted_bound").push_back(0.0);
  metrics.real("tail_mass").push_back(tail_mass);
}

void add_kept(RowMetrics& metrics, std::int64_t kept, double tail_mass, double denominator_error) {
  add_kept(metrics, kept, tail_mass);
  metrics.real("denominator_error").push_back(denominator_error);
}

std::vector<std::int64_t> cuts_of(SelectedKeys const& selected, RowMetrics const& metrics) {
  auto cuts = metrics.count("kept");
  if (selected.weighs()) cuts.insert(std::lower_bound(cuts.begin(), cuts.end(), selected.forced), selected.forced);
  return cuts;
}

std::vector<float> references_of_cuts(SelectedKeys const& selected, std::vector<std::int64_t> const& cuts) {
  std::vector<float> references(cuts.size(), -std::numeric_limits<float>::infinity());
  std::int64_t place = 0;
  for (std::size_t item = 0; item < cuts.size(); ++item) {
    for (; place < std::min(cuts[item], std::ssize(selected.keys)); ++place)
      references[item] = std::max(references[item], selected.scores[place]);
  }
  return references;
}

void add_output_error(OwnedRow const& row, std::size_t law, double const* estimate, double sink, bool exact, RowMetrics& metrics) {
  auto const& all = row.outputs[law];
  auto const d = all.size();
  double square = 0.0, norm = 0.0;
  double const weight = estimate[d] + sink > 0.0 ? estimate[d] + sink : 1.0;
  // What was taken from all values is in either output as often as its weights say.
  auto const* const offset = row.value_offset;
  double const of_offset = metrics.of_keys - estimate[d] / weight;
  for (std::size_t c = 0; c < d; ++c) {
    double of_all = all[c] / metrics.z, difference = exact ? 0.0 : of_all - estimate[c] / weight;
    if (offset != nullptr) {
      of_all += (*offset)[c] * metrics.of_keys;
      difference += exact ? 0.0 : (*offset)[c] * of_offset;
    }
    square += difference * difference;
    norm += of_all * of_all;
  }
  double const error = std::sqrt(square);
  // What exact top-k's error at the same k says of the values: as large a share of this one.
  auto const item = metrics.real("output_error").size();
  auto& rounding = metrics.real("output_error_rounding");
  if (!rounding.empty() && rounding[item] > 0.0 && row.evaluation.laws[law].real("output_error")[item] > 0.0)
    rounding[item] *= error / row.evaluation.laws[law].real("output_error")[item];
  metrics.real("output_error").push_back(error);
  metrics.real("output_error_relative").push_back(error == 0.0 ? 0.0 : error / std::sqrt(norm));
}

void selected_output_errors(OwnedRow const& row, SelectedKeys const& selected, std::size_t law, double sigma,
                            std::vector<double> const& sums, std::vector<float> const& references, RowMetrics& metrics) {
  auto const width = row.outputs[law].size() + 1;
  // Relative to the largest score that is kept: p_hat of keys far below the row's best is as good as any other.
  std::vector<double> forced(width, 0.0), sampled(width, 0.0), estimate(width);
  double top = -std::numeric_limits<double>::infinity();
  // A sink, which is kept with weight 1, is as good as a forced key.
  bool const weighs = selected.weighs() || (selected.forced == 0 && metrics.log_sink > -INFINITY);
  auto const cuts = cuts_of(selected, metrics);
  auto const& counts = metrics.count("kept");
  std::size_t item = 0;
  for (std::size_t cut = 0; cut < cuts.size(); ++cut) {
    double const reference = references[cut], next = std::max(top, reference);
    double const earlier = top == next ? 1.0 : std::exp(sigma * (top - next)),
                 added = reference == next ? 1.0 : std::exp(sigma * (reference - next));
    auto& grows = selected.weighs() && cuts[cut] <= selected.forced ? forced : sampled;
    auto& stays = &grows == &forced ? sampled : forced;
    for (std::size_t c = 0; c < width; ++c) {
      grows[c] = earlier * grows[c] + added * sums[cut * width + c];
      stays[c] *= earlier;
    }
    top = next;
    if (item == counts.size() || cuts[cut] != counts[item]) continue;
    double const weight = weighs ? sampled_weight(row.visible, selected.forced, cuts[cut]) : 1.0;
    for (std::size_t c = 0; c < width; ++c) estimate[c] = forced[c] + weight * sampled[c];
    for (; item < counts.size() && counts[item] == cuts[cut]; ++item)
      add_output_error(row, law, estimate.data(), metrics.sink_beside(sigma * (row.score_max - top)), counts[item] >= row.visible, metrics);
  }
}

}  // namespace asymptop
