#include "measure/study/row_owner.hpp"

#include <algorithm>
#include <cmath>

#include "attend/audit.hpp"

namespace asymptop {
namespace {

double difference(double measured, double reference) {
  if (measured == reference) return 0.0;
  return std::fabs(measured - reference) / std::max(std::fabs(reference), 1e-290);
}

/// Norm of a - b over d entries, after scaling each.
double distance(double const* a, double scale_a, double const* b, double scale_b, std::size_t d) {
  double sum = 0.0;
  for (std::size_t c = 0; c < d; ++c) {
    double const x = a[c] * scale_a - b[c] * scale_b;
    sum += x * x;
  }
  return std::sqrt(sum);
}

double norm(double const* a, std::size_t d) { return distance(a, 1.0, a, 0.0, d); }

/// Bound of the relative error of a bin's sum of e^{c r} (profile/score_bins.hpp) where bins are so wide that it counts.
double bins_error(double c) { return c > 1.0 / 8.0 ? c * c * c / 192.0 * (1.0 + c) : 0.0; }

}  // namespace

OwnedRow own_row(int row, std::vector<Candidate> const& head, RowBins bins, MetricAxes const& axes, std::vector<double> const& thresholds,
                 std::int64_t visible) {
  OwnedRow owned;
  owned.row = row;
  owned.visible = visible;
  owned.evaluation = evaluate_row(head, bins, axes, thresholds, visible);
  owned.score_max = head.front().score;
  owned.head_lacks = std::max<std::int64_t>(0, std::min(axes.held, visible - 1) + 1 - static_cast<std::int64_t>(head.size()));
  std::size_t begin = 0;
  for (auto const k : axes.k) {
    if (k > axes.held && k < visible) break;  // not held: no boundary
    auto const end = static_cast<std::size_t>(std::min<std::int64_t>(k, visible));
    if (end == begin) break;
    owned.references.push_back(head[begin].score);
    owned.boundaries.push_back(head[end - 1]);
    owned.ranks.push_back(static_cast<std::int64_t>(end));
    begin = end;
  }
  float const edge = owned.boundaries.back().score;
  // Not the edge's own score: beside it the weights of a tail far below would vanish.
  owned.references.push_back(begin < head.size() ? head[begin].score : edge);
  for (std::size_t i = 0; i < begin; ++i) {
    owned.above_edge += head[i].score > edge ? 1 : 0;
    owned.equal_edge += head[i].score == edge ? 1 : 0;
  }
  bins.bins.clear();
  owned.grid_only = std::move(bins);
  return owned;
}

void output_errors(OwnedRow& row, std::size_t law, double sigma, std::vector<double> const& sums, std::size_t d,
                   std::vector<std::int64_t> const& ks, CheckResiduals& checks) {
  auto& metrics = row.evaluation.laws[law];
  auto const segments = row.references.size(), width = d + 1;
  double const z = metrics.z, top = static_cast<double>(row.score_max);
  // Prefix (head) and suffix (tail) sums over segments, relative to the largest score.
  std::vector<double> head((segments + 1) * width, 0.0), tail((segments + 1) * width, 0.0);
  auto const weight = [&](std::size_t g) { return std::exp(sigma * (static_cast<double>(row.references[g]) - top)); };
  for (std::size_t g = 0; g < segments; ++g) {
    for (std::size_t c = 0; c < width; ++c) head[(g + 1) * width + c] = head[g * width + c] + weight(g) * sums[g * width + c];
  }
  for (std::size_t g = segments; g-- > 0;) {
    for (std::size_t c = 0; c < width; ++c) tail[g * width + c] = tail[(g + 1) * width + c] + weight(g) * sums[g * width + c];
  }
  double const* all = &tail[0];
  double const exact = norm(all, d) / z;
  checks.note(Check::sum_p_direct, std::fabs(all[d] / z - 1.0));
  for (std::size_t i = 0; i < ks.size(); ++i) {
    if (ks[i] >= row.visible) {
      metrics.output_error.push_back(0.0);
      metrics.output_error_relative.push_back(0.0);
      continue;
    }
    double const* h = &head[(i + 1) * width];
    double const* t = &tail[(i + 1) * width];
    double const tau = metrics.tail_mass[i], head_mass = (1.0 - tau) * z;
    double const error = distance(t, 1.0 / z, h, tau / head_mass, d);
    metrics.output_error.push_back(error);
    metrics.output_error_relative.push_back(error == 0.0 ? 0.0 : error / exact);  // values may all be zero
    // The identity, with means taken over the directly summed weights.
    double const means = tau * distance(t, 1.0 / t[d], h, 1.0 / h[d], d);
    double const direct = distance(all, 1.0 / z, h, 1.0 / head_mass, d);
    // Both sides are differences of vectors: rounding is relative to the vectors, not to their difference.
    double const scale = tau * (norm(t, d) / t[d] + norm(h, d) / h[d]);
    if (scale > 1e-9 * exact) checks.note(Check::identity_output, std::max(0.0, std::fabs(direct - means) - 1e-13 * exact) / scale);
  }
}

void audit_row(OwnedRow const& row, std::size_t law, double sigma, std::vector<double> const& sums, std::vector<std::int64_t> const& ks,
               CheckResiduals& checks) {
  auto const& metrics = row.evaluation.laws[law];
  auto const segments = row.references.size();
  double const top = static_cast<double>(row.score_max);
  // Of each sum, how far errors of scores may move it: `moved` of e^y, twice that of e^{2y}, whose e^y is at most the segment's weight.
  struct Sum {
    double e = 0.0, square = 0.0, moved = 0.0, square_moved = 0.0;
    Sum operator+(Sum const& b) const { return {e + b.e, square + b.square, moved + b.moved, square_moved + b.square_moved}; }
    double error() const { return moved == 0.0 ? 0.0 : moved / e; }
    double square_error() const { return square_moved == 0.0 ? 0.0 : square_moved / square; }
  };
  std::vector<Sum> head(segments + 1), tail(segments + 1), of(segments);
  double h = 0.0, keys = 0.0;
  std::int64_t previous = 0;
  for (std::size_t g = 0; g < segments; ++g) {
    double const* numbers = &sums[g * audit_numbers];
    double const y = sigma * (static_cast<double>(row.references[g]) - top), weight = std::exp(y);
    of[g] = {weight * numbers[0], weight * weight * numbers[1], sigma * weight * numbers[4], 2.0 * sigma * weight * weight * numbers[4]};
    h += weight * (numbers[2] + y * numbers[0]);
    head[g + 1] = head[g] + of[g];
    double const expected = static_cast<double>((g < row.ranks.size() ? row.ranks[g] : row.visible) - previous);
    checks.note(Check::top_k_count, std::fabs(numbers[3] - expected));
    previous = g < row.ranks.size() ? row.ranks[g] : previous;
    keys += numbers[3];
  }
  for (std::size_t g = segments; g-- > 0;) tail[g] = tail[g + 1] + of[g];
  checks.note(Check::keys_seen, std::fabs(keys - static_cast<double>(row.visible)));
  auto const& all = tail[0];
  double const z = all.e, z_error = all.error();
  double const bins = bins_error(sigma * row.grid_only.width()), square_bins = bins_error(2.0 * sigma * row.grid_only.width());
  auto const note = [&](double difference, double explained) {
    checks.note(Check::audit_metrics, std::isfinite(difference) ? std::max(0.0, difference - explained) : difference);
  };
  // Entropy is near zero for a collapsed row: its error is relative to max(entropy, 1). A score that errs changes y e^y by (1 + |y|) as
  // much as e^y, and beyond |y| = log n there is next to nothing.
  double const entropy = std::log(z) - h / z, longest = 2.0 + std::log(static_cast<double>(row.visible)) + std::fabs(h / z);
  note(std::fabs(metrics.entropy_nats - entropy) / std::max(entropy, 1.0), (z_error + bins) * longest);
  note(difference(metrics.sum_p_squared, all.square / (z * z)), all.square_error() + 2.0 * z_error + square_bins + 2.0 * bins);
  note(difference(metrics.p_max, of[0].e / z), of[0].error() + z_error + bins);
  note(std::fabs(metrics.log_sum_exp - (sigma * top + std::log(z))) / std::max(1.0, std::fabs(metrics.log_sum_exp)), z_error + bins);
  for (std::size_t i = 0; i < ks.size() && i + 1 < segments; ++i) {
    if (ks[i] >= row.visible) break;
    auto const &kept = head[i + 1], &dropped = tail[i + 1];
    // Relative to the largest dropped key, so that no square underflows.
    double const unit = sigma * (static_cast<double>(row.references[i + 1]) - top), weight = std::exp(unit);
    if (weight == 0.0) continue;
    double square = 0.0, square_moved = 0.0;
    for (std::size_t g = segments; g-- > i + 1;) {
      double const relative = std::exp(sigma * (static_cast<double>(row.references[g]) - top) - unit);
      square += relative * relative * sums[g * audit_numbers + 1];
      square_moved += 2.0 * sigma * relative * relative * sums[g * audit_numbers + 4];
    }
    double const dropped_error = dropped.error() + z_error + 2.0 * bins, ratio = dropped.e / kept.e / weight;
    note(difference(metrics.tail_mass[i], dropped.e / z), dropped_error);
    note(difference(metrics.row_l2_error[i], weight * std::sqrt(ratio * ratio * kept.square + square) / z),
         dropped_error + kept.error() + 0.5 * kept.square_error() + 0.5 * (square_moved / square + square_bins));
  }
}

}  // namespace asymptop
