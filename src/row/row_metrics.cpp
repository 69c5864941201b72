#include "row/row_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "kernels/core/math.hpp"
#include "kernels/select/sums_along.hpp"
#include "row/segment_sums.hpp"
#include "row/tolerances.hpp"

namespace asymptop {
namespace {

constexpr float float_infinity = std::numeric_limits<float>::infinity();

/// Bins whose few scores are collected whole rather than through a window.
constexpr std::int64_t collect_whole_bin = 4096;

/// Takes the head's members out of the bins: what stays is exactly the tail.
std::vector<BinMoments> tail_bins(std::vector<Candidate> const& head, RowBins const& bins) {
  auto tail = bins.bins;
  for (auto const& candidate : head) {
    auto const binned = bin_score(candidate.score, bins.grid, bins.first_bin);
    auto& bin = tail[binned.bin];
    bin.count -= 1;
    bin.first -= binned.r;
    bin.second -= binned.r2;
  }
  return tail;
}

/// Errors of keeping the k best, for every k of the axis. square_of_tail(k): sum of (e / e_k)^2 over all keys but the k best.
template <class SquareOfTail>
void errors_of_k(RowMetrics& metrics, SumsAlong const& sums, MetricAxes const& axes, std::int64_t visible,
                 SquareOfTail const& square_of_tail) {
  for (auto const k : axes.k) {
    if (k >= visible) {
      add_errors(metrics, {}, visible);
    } else if (k > axes.held) {  // open until the second pass
      add_errors(metrics, KeptErrors::open(), k);
    } else {
      std::size_t const i = k;
      CutSums const cut{metrics.z, sums.kept1[i] + metrics.sink, sums.kept2[i], sums.dropped1[i], sums.dropped2[i], sums.e[i]};
      add_errors(metrics, errors_of_cut(cut, [&] { return square_of_tail(i); }), k);
    }
  }
}

/// tau = 1 - exp(-KL(p_hat || p)) at k, with every logarithm taken.
double identity_kl_residual(RowMetrics const& metrics, SumsAlong const& sums, std::size_t k) {
  double kl = 0.0;
  auto const add = [&, kept = sums.kept1[k] + metrics.sink](double e) {
    double const p = e / metrics.z, p_hat = e / kept;
    if (p > 0.0) kl += p_hat * std::log(p_hat / p);
  };
  for (std::size_t i = 0; i < k; ++i) add(sums.e[i]);
  add(metrics.sink);
  double const tau = sums.dropped1[k] / metrics.z;
  // Rounding of k logarithms, each of a number near 1 when tau is small.
  double const floor = 1e-13 * std::max(1.0, std::sqrt(k));
  return std::max(0.0, std::fabs(tau - -std::expm1(-kl)) - floor) / std::max(tau, 1e-300);
}

/// The first window: where a density that is linear over the bin puts the target, give or take its counting noise.
void first_window(Probe& probe, RowBins const& grid, double sigma, double mass) {
  probe.bracket_low = -float_infinity;
  probe.bracket_high = float_infinity;
  if (probe.bin_total.count <= collect_whole_bin) {
    probe.low = -float_infinity;
    probe.high = float_infinity;
    probe.capacity = probe.bin_total.count;
    return;
  }
  double const n = exact_double(probe.bin_total.count);
  double const mean = probe.bin_total.sum_r() / n;
  double const slope = 12.0 * mean + sigma * grid.width();
  double const part = (probe.target - probe.mass_below_bin) / mass;
  double r = part - 0.5;
  for (int i = 0; i < 20; ++i) r -= (r + 0.5 + slope / 2.0 * (r * r - 0.25) - part) / (1.0 + slope * r);
  r = std::clamp(std::isfinite(r) ? r : 0.0, -0.5, 0.5);
  probe.half_width = 8.0 / std::sqrt(n) + 1e-3;
  double const position = (grid.first_bin + probe.bin) + r;
  probe.low = to_fp32((position - probe.half_width) * grid.width());
  probe.high = to_fp32((position + probe.half_width) * grid.width());
  probe.capacity = to_integer(n * 3.0 * probe.half_width) + 1024;
}

void find_k_epsilon(RowEvaluation& result, RowBins const& bins, SumsAlong const& sums, MetricAxes const& axes, int law, double top) {
  auto& metrics = result.laws[law];
  double const sigma = axes.sigma[law];
  for (int item = 0; item < int_size(axes.epsilon); ++item) {
    double const target = axes.epsilon[item] * metrics.z;
    if (sums.dropped1.back() <= target) {
      auto const it = std::partition_point(sums.dropped1.begin(), sums.dropped1.end(), [&](double tail) { return tail > target; });
      metrics.count("k_epsilon").push_back(it - sums.dropped1.begin());
      continue;
    }
    metrics.count("k_epsilon").push_back(-1);
    Probe probe{};
    probe.kind = Probe::Kind::k_epsilon;
    probe.law = law;
    probe.item = item;
    probe.target = target;
    std::int64_t below = 0;
    for (int b = 0; b < bins.count(); ++b) {
      if (bins.bins[b].count == 0) continue;
      double const mass = bin_sums(bins.bins[b], sigma, bins.width(), bins.centre(b) - top).z1;
      probe.bin = b;
      probe.bin_total = bins.bins[b];
      probe.keys_above_bin = result.keys_seen - below - bins.bins[b].count;
      if (probe.mass_below_bin + mass > target) {
        first_window(probe, bins, sigma, mass);
        break;
      }
      probe.mass_below_bin += mass;
      below += bins.bins[b].count;
    }
    result.open.push_back(probe);
  }
}

void count_above_thresholds(RowEvaluation& result, RowBins const& bins, std::vector<Candidate> const& head, MetricAxes const& axes,
                            std::vector<double> const& thresholds, int law, std::int64_t visible) {
  auto& metrics = result.laws[law];
  double const sigma = axes.sigma[law], top = head.front().score;
  for (int item = 0; item < int_size(thresholds); ++item) {
    double const y = std::log(thresholds[item] * metrics.z);  // p > threshold means sigma (s - s_max) > y
    auto const in_head = [&](Candidate const& c) { return sigma * (c.score - top) > y; };
    if (std::ssize(head) == visible || !in_head(head.back())) {
      metrics.count("count_p_above").push_back(std::partition_point(head.begin(), head.end(), in_head) - head.begin());
      continue;
    }
    double const score = top + y / sigma;
    float edge = to_fp32(score);
    if (edge > score) edge = std::nextafter(edge, -float_infinity);
    double const number = std::nearbyint(edge * double{bins.grid.bins_per_unit}) - bins.first_bin;
    if (!(number >= 0.0)) {
      metrics.count("count_p_above").push_back(visible);
      continue;
    }
    metrics.count("count_p_above").push_back(-1);
    Probe probe{};
    probe.kind = Probe::Kind::count_above;
    probe.law = law;
    probe.item = item;
    probe.bin = checked_int(std::min<double>(number, bins.grid.count - 1));
    probe.low = probe.high = edge;
    probe.keys_above_bin = std::accumulate(bins.bins.begin() + probe.bin + 1, bins.bins.end(), std::int64_t{0},
                                           [](std::int64_t sum, BinMoments const& bin) { return sum + bin.count; });
    result.open.push_back(probe);
  }
}

/// The score of a bin that has the share `part` of its keys above it, if their density is linear; as a float inside the bin.
float score_above_part(RowBins const& bins, Probe const& probe, double part) {
  double const slope = 12.0 * probe.bin_total.sum_r() / exact_double(probe.bin_total.count);
  double r = 0.5 - part;
  for (int i = 0; i < 20; ++i) r -= ((r - 0.5) + slope / 2.0 * (r * r - 0.25) + part) / (1.0 + slope * r);
  r = std::clamp(std::isfinite(r) ? r : 0.0, -0.499, 0.499);
  return to_fp32(((bins.first_bin + probe.bin) + r) * bins.width());
}

/// Probes that stand for the k beyond the head: a threshold near the k-th largest score each, above which the second pass counts.
void open_ranks(RowEvaluation& result, RowBins const& bins, MetricAxes const& axes, double top, std::int64_t visible) {
  for (int item = 0; item < int_size(axes.k); ++item) {
    auto const k = axes.k[item];
    if (k <= axes.held || k >= visible) continue;
    Probe probe{};
    probe.kind = Probe::Kind::rank;
    probe.item = item;
    probe.below.resize(axes.sigma.size());
    std::int64_t below = 0;  // keys of lower bins
    for (int b = 0; b < bins.count(); ++b) {
      auto const& bin = bins.bins[b];
      if (bin.count == 0) continue;
      if (below + bin.count > visible - k) {
        probe.bin = b;
        probe.bin_total = bin;
        probe.keys_above_bin = result.keys_seen - below - bin.count;
        break;
      }
      below += bin.count;
      for (std::size_t law = 0; law < axes.sigma.size(); ++law)
        probe.below[law].add(bin_sums(bin, axes.sigma[law], bins.width(), bins.centre(b) - top));
    }
    double const part = exact_double(k - probe.keys_above_bin) / exact_double(probe.bin_total.count);
    probe.low = probe.high = score_above_part(bins, probe, part);
    result.open.push_back(std::move(probe));
  }
}

/// Sums of (score - top) and its square over a head that is the whole row, in bins.
void head_moments(std::vector<Candidate> const& head, double width, double& sum, double& square) {
  for (auto const& candidate : head) {
    double const x = (candidate.score - double{head.front().score}) / width;
    sum += x;
    square += x * x;
  }
}

/// Mean and standard deviation of the scores: from the moments, or from the scores where the head holds them all.
void score_moments(RowMetrics& metrics, RowBins const& bins, std::vector<Candidate> const& head, double sigma, std::int64_t visible) {
  double const top = head.front().score;
  double sum = 0.0, square = 0.0;
  bool const whole = std::ssize(head) == visible;
  if (whole) head_moments(head, bins.width(), sum, square);
  for (int b = 0; b < bins.count() && !whole; ++b) {
    auto const& bin = bins.bins[b];
    if (bin.count == 0) continue;
    double const n = exact_double(bin.count), c = (bins.centre(b) - top) / bins.width();
    double const m1 = bin.sum_r(), m2 = bin.sum_r2();
    sum += n * c + m1;
    square += n * c * c + 2.0 * c * m1 + m2;
  }
  double const n = exact_double(visible), mean = sum / n;
  metrics.one("logit_mean") = sigma * (top + mean * bins.width());
  metrics.one("logit_std") = sigma * bins.width() * std::sqrt(std::max(0.0, square / n - mean * mean));
  metrics.one("logit_max") = sigma * top;
}

/// How near a row's scores are to their softcap, and what fp32 leaves of their order there.
void softcap_fields(RowMetrics& metrics, RowBins const& bins, std::vector<Candidate> const& head, MetricAxes const& axes,
                    std::int64_t visible) {
  std::int64_t reached = 0;
  for (int b = 0; b < bins.count(); ++b) {
    if (std::fabs(bins.centre(b)) >= axes.softcap * (1.0 - near_softcap)) reached += bins.bins[b].count;
  }
  metrics.one("softcap_reached") = exact_double(reached) / exact_double(visible);
  for (auto const k : axes.k) {
    double& ties = metrics.real("softcap_ties").emplace_back(0.0);
    if (k >= std::ssize(head)) continue;
    float const edge = head[k - 1].score;
    if (head[k].score != edge || std::fabs(edge) < axes.softcap * (1.0 - near_softcap)) continue;
    auto const first = std::find_if(head.begin(), head.end(), [edge](Candidate const& c) { return c.score == edge; }) - head.begin();
    ties = exact_double(k - first) / exact_double(k);
  }
}

}  // namespace

ExponentialSums sum_bins(std::vector<BinMoments> const& moments, RowBins const& grid, double sigma, double top) {
  ExponentialSums total;
  for (int b = 0; b < int_size(moments); ++b) {
    if (moments[b].count != 0) total.add(bin_sums(moments[b], sigma, grid.width(), grid.centre(b) - top));
  }
  return total;
}

BeyondHead beyond_head(std::vector<Candidate> const& head, RowBins const& bins, MetricAxes const& axes, std::int64_t visible) {
  BeyondHead beyond;
  if (std::ssize(head) < visible) beyond.bins = tail_bins(head, bins);
  for (auto const sigma : axes.sigma) beyond.sums.push_back(sum_bins(beyond.bins, bins, sigma, head.front().score));
  return beyond;
}

RowEvaluation evaluate_row(std::vector<Candidate> const& head, RowBins const& bins, MetricAxes const& axes,
                           std::vector<double> const& thresholds, std::int64_t visible, double sink) {
  RowEvaluation result;
  for (auto const& bin : bins.bins) result.keys_seen += bin.count;
  result.in_range = bins.bins.front().count == 0 && bins.bins.back().count == 0;
  auto const tail = tail_bins(head, bins);
  double const top = head.front().score;
  for (int law = 0; law < int_size(axes.sigma); ++law) {
    double const sigma = axes.sigma[law];
    auto const beyond = std::ssize(head) == visible ? ExponentialSums{} : sum_bins(tail, bins, sigma, top);
    auto const all = sum_bins(bins.bins, bins, sigma, top);
    auto const y = [&](std::size_t i) { return sigma * (head[i].score - top); };
    auto const sums = sums_along(
        head.size(), [&](std::size_t i) { return std::exp(y(i)); },
        [&](std::size_t i) { return i + 1 == head.size() ? beyond : ExponentialSums{}; });
    double h = 0.0;
    for (std::size_t i = 0; i < head.size(); ++i) h += y(i) * sums.e[i];
    auto& metrics = result.laws.emplace_back();
    double const of_keys = sums.dropped1[0];
    metrics.log_sink = sink - sigma * top;
    metrics.sink = metrics.sink_beside(0.0);
    metrics.z = of_keys + metrics.sink;
    metrics.of_keys = of_keys / metrics.z;
    metrics.count("largest_place").push_back(head.front().index);
    score_moments(metrics, bins, head, sigma, visible);
    if (axes.softcap > 0.0) softcap_fields(metrics, bins, head, axes, visible);
    sums_of_row(metrics, of_keys, sums.dropped2[0], h + beyond.h);
    auto const square_of_tail = [&](std::size_t k) {
      double const score = head[k].score;
      double sum = std::ssize(head) == visible ? 0.0 : sum_bins(tail, bins, sigma, score).z2;
      for (std::size_t i = head.size(); i-- > k;) sum += std::exp(2.0 * sigma * (head[i].score - score));
      return sum;
    };
    errors_of_k(metrics, sums, axes, visible, square_of_tail);
    find_k_epsilon(result, bins, sums, axes, law, top);
    count_above_thresholds(result, bins, head, axes, thresholds, law, visible);
    result.sum_p.push_back(std::fabs(of_keys / all.z1 - 1.0));
    auto const k = std::min({axes.k.back(), axes.held, std::ssize(head)});
    result.identity_kl.push_back(k < visible ? identity_kl_residual(metrics, sums, k) : 0.0);
  }
  open_ranks(result, bins, axes, top, visible);
  return result;
}

}  // namespace asymptop
