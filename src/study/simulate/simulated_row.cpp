#include "study/simulate/simulated_row.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/select/sums_along.hpp"
#include "row/segment_sums.hpp"

namespace asymptop {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Running sums over the drawn ranks and the blocks between them.
struct RowSums : SumsAlong {
  std::vector<ExponentialSums> block;  ///< after each drawn rank
  double z = 0.0;                      ///< of all
};

/// Sums over nodes first to last.
ExponentialSums node_sums(Nodes const& nodes, std::size_t first, std::size_t last, double sigma, double top) {
  ExponentialSums sums;
  for (auto j = first; j < last; ++j) {
    double const y = sigma * (nodes.z[j] - top), e = std::exp(y);
    sums.add({nodes.weight[j] * e, nodes.weight[j] * e * e, nodes.weight[j] * y * e});
  }
  return sums;
}

RowSums sum_row(OrderStatistics const& row, double sigma) {
  double const top = row.z.front();
  std::vector<ExponentialSums> blocks;
  for (std::size_t i = 0; i < row.z.size(); ++i)
    blocks.push_back(node_sums(row.nodes, row.first_node[i], row.first_node[i + 1], sigma, top));
  auto const sums = sums_along(
      row.z.size(), [&](std::size_t i) { return std::exp(sigma * (row.z[i] - top)); }, [&](std::size_t i) { return blocks[i]; });
  double const z = sums.dropped1[0];
  return {sums, std::move(blocks), z};
}

void errors_of_k(RowMetrics& metrics, RowSums const& sums, DrawnRanks const& ranks, MetricAxes const& axes) {
  for (std::size_t j = 0; j < axes.k.size(); ++j) {
    if (axes.k[j] == ranks.n) {
      add_errors(metrics, {}, ranks.n);
      continue;
    }
    auto const cut = ranks.place_of_k[j] + 1;
    CutSums const parts{sums.z, sums.kept1[cut], sums.kept2[cut], sums.dropped1[cut], sums.dropped2[cut], sums.e[cut]};
    auto errors = errors_of_cut(parts, [] { return 1.0; });
    // By hypot, whose squares do not vanish before the norm does: blocks have no scores of their own to take squares relative to.
    errors.row_l2 = std::hypot(parts.dropped1 / parts.kept1 * std::sqrt(parts.kept2), std::sqrt(parts.dropped2)) / sums.z;
    add_errors(metrics, errors, axes.k[j]);
  }
}

/// The normal law between the ends of a block of keys, cut in two at a score.
class BlockProfile {
 public:
  BlockProfile(double high, double low, double sigma) : high_(high), low_(cut_off(high, low)), sigma_(sigma) {}

  /// Shares of the block's keys, and of their sum of e^s, above a score.
  struct Share {
    double keys, mass;
  };
  Share above(double z) const {
    auto const upper = normal_part(high_, z), lower = normal_part(z, low_);
    double const ratio = std::exp(lower.log_mass - upper.log_mass);
    return {1.0 / (1.0 + ratio), 1.0 / (1.0 + ratio * mean_exponential(lower.nodes) / mean_exponential(upper.nodes))};
  }

  /// The share of the keys that have this share of the mass and are the largest.
  double keys_with_mass(double mass) const {
    double upper = high_, lower = low_;
    for (int i = 0; i < 50; ++i) {
      double const middle = (upper + lower) / 2.0;
      (above(middle).mass < mass ? upper : lower) = middle;
    }
    return above((upper + lower) / 2.0).keys;
  }

 private:
  double mean_exponential(Nodes const& nodes) const {
    double sum = 0.0;
    for (std::size_t j = 0; j < nodes.z.size(); ++j) sum += nodes.weight[j] * std::exp(sigma_ * (nodes.z[j] - high_));
    return sum;
  }

  double high_, low_, sigma_;
};

BlockProfile profile_of_block(OrderStatistics const& row, std::size_t i, double sigma) {
  return {row.z[i], i + 1 < row.z.size() ? row.z[i + 1] : -infinity, sigma};
}

/// The first place whose tail is at most the target; the number of places when none is.
std::size_t place_within(RowSums const& sums, double target) {
  auto const first = sums.dropped1.begin() + 1;
  return std::partition_point(first, sums.dropped1.end(), [&](double tail) { return tail > target; }) - first;
}

std::int64_t k_epsilon(OrderStatistics const& row, DrawnRanks const& ranks, RowSums const& sums, double sigma, double target) {
  auto const place = place_within(sums, target);
  if (place == 0) return 1;
  auto const before = place - 1;
  bool const closed = place < ranks.rank.size();
  auto const keys = ranks.block(before);
  // What the block may keep in the tail: the rank that ends it is in the tail as long as any of its keys is.
  double const kept = target - (closed ? sums.dropped1[place + 1] + sums.e[place] : 0.0), mass = sums.block[before].z1;
  if (keys == 0 || kept < 0.0) return ranks.rank[place];
  if (mass <= 0.0) return ranks.rank[before] + 1;
  double const share = profile_of_block(row, before, sigma).keys_with_mass(std::clamp(1.0 - kept / mass, 0.0, 1.0));
  auto const inside = std::llround(std::ceil(share * ranks.keys_of_block(before)));
  return ranks.rank[before] + std::clamp<std::int64_t>(inside, 1, keys);
}

/// Entries with p > threshold.
std::int64_t count_above(OrderStatistics const& row, DrawnRanks const& ranks, double z, double sigma, double threshold) {
  double const score = row.z.front() + std::log(threshold * z) / sigma;
  std::size_t const place = std::partition_point(row.z.begin(), row.z.end(), [&](double other) { return other > score; }) - row.z.begin();
  if (place == 0) return 0;
  auto const before = place - 1;
  auto const keys = ranks.block(before);
  if (keys == 0) return ranks.rank[before];
  double const share = score < cut_off(row.z[before], -infinity) ? 1.0 : profile_of_block(row, before, sigma).above(score).keys;
  double const m = ranks.keys_of_block(before), drawn = std::nearbyint(m * share + std::sqrt(m * share * (1.0 - share)) * row.deviate);
  // Compared as doubles: 2^62 keys and their neighbours are one number there.
  return ranks.rank[before] + (drawn >= m ? keys : std::llround(std::max(drawn, 0.0)));
}

/// Mean and standard deviation of the logits.
void logit_moments(RowMetrics& metrics, OrderStatistics const& row, double sigma, double n) {
  double sum = 0.0, square = 0.0;
  for (auto i = row.nodes.z.size(); i-- > 0;) {
    sum += row.nodes.weight[i] * row.nodes.z[i];
    square += row.nodes.weight[i] * row.nodes.z[i] * row.nodes.z[i];
  }
  for (auto i = row.z.size(); i-- > 0;) {
    sum += row.z[i];
    square += row.z[i] * row.z[i];
  }
  double const mean = sum / n;
  metrics.one("logit_mean") = sigma * mean;
  metrics.one("logit_std") = sigma * std::sqrt(std::max(0.0, square / n - mean * mean));
  metrics.one("logit_max") = sigma * row.z.front();
}

/// tau and 1 - e^-KL(p_hat || p) at the largest k below n, from entries one by one.
double identity_kl_residual(OrderStatistics const& row, RowSums const& sums, double sigma, std::size_t place) {
  double kl = 0.0, entries = 0.0;
  auto const add = [&](double z, double weight) {
    double const e = std::exp(sigma * (z - row.z.front())), p = e / sums.z, p_hat = e / sums.kept1[place + 1];
    if (p > 0.0) kl += weight * p_hat * std::log(p_hat / p);
    entries += 1.0;
  };
  for (std::size_t i = 0; i <= place; ++i) {
    add(row.z[i], 1.0);
    for (auto j = row.first_node[i]; i < place && j < row.first_node[i + 1]; ++j) add(row.nodes.z[j], row.nodes.weight[j]);
  }
  double const tau = sums.dropped1[place + 1] / sums.z;
  // Rounding of as many logarithms, each of a number near 1 when tau is small.
  double const floor = 1e-13 * std::max(1.0, std::sqrt(entries));
  return std::max(0.0, std::fabs(tau + std::expm1(-kl)) - floor) / std::max(tau, 1e-300);
}

}  // namespace

RowMetrics evaluate_simulated_row(OrderStatistics const& row, DrawnRanks const& ranks, double sigma, MetricAxes const& axes,
                                  std::vector<double> const& thresholds) {
  auto const sums = sum_row(row, sigma);
  RowMetrics metrics;
  metrics.z = sums.z;
  logit_moments(metrics, row, sigma, ranks.all_keys());
  double h = 0.0;  // sum of y e^y
  for (auto i = row.z.size(); i-- > 0;) h += sums.block[i].h + sigma * (row.z[i] - row.z.front()) * sums.e[i];
  sums_of_row(metrics, sums.z, sums.dropped2[0], h);
  errors_of_k(metrics, sums, ranks, axes);
  for (auto const epsilon : axes.epsilon) metrics.count("k_epsilon").push_back(k_epsilon(row, ranks, sums, sigma, epsilon * sums.z));
  for (auto const threshold : thresholds) metrics.count("count_p_above").push_back(count_above(row, ranks, sums.z, sigma, threshold));
  return metrics;
}

void check_simulated_row(OrderStatistics const& row, DrawnRanks const& ranks, double sigma, MetricAxes const& axes,
                         RowMetrics const& metrics, CheckResiduals& checks) {
  auto const sums = sum_row(row, sigma);
  double keys = 0.0, ascents = 0.0, sum_p = 0.0, ascending_errors = 0.0, astray = 0.0;
  for (std::size_t i = 0; i < row.z.size(); ++i) {
    keys += 1.0;
    sum_p += sums.e[i] / sums.z;
    double const low = i + 1 < row.z.size() ? row.z[i + 1] : -infinity;
    ascents += low > row.z[i] ? 1.0 : 0.0;
    for (auto j = row.first_node[i]; j < row.first_node[i + 1]; ++j) {
      keys += row.nodes.weight[j];
      sum_p += row.nodes.weight[j] * std::exp(sigma * (row.nodes.z[j] - row.z.front())) / sums.z;
      ascents += row.nodes.z[j] > row.z[i] || row.nodes.z[j] < low ? 1.0 : 0.0;
    }
  }
  for (std::size_t j = 1; j < axes.k.size(); ++j)
    ascending_errors += metrics.real("tail_mass")[j] > metrics.real("tail_mass")[j - 1] ? 1.0 : 0.0;
  for (std::size_t j = 0; j < axes.epsilon.size(); ++j) {
    auto const place = place_within(sums, axes.epsilon[j] * sums.z);
    auto const least = place == 0 ? 1 : ranks.rank[place - 1] + 1, most = place < ranks.rank.size() ? ranks.rank[place] : ranks.n;
    astray += metrics.count("k_epsilon")[j] < least || metrics.count("k_epsilon")[j] > most ? 1.0 : 0.0;
  }
  double const n = ranks.all_keys();
  checks.note(Check::keys_seen, std::fabs(keys / n - 1.0) > 1e-10 ? std::fabs(keys - n) : 0.0);
  checks.note(Check::score_range, ascents);
  checks.note(Check::top_k_count, ascending_errors);
  checks.note(Check::quantiles_settled, astray);
  checks.note(Check::sum_p_direct, std::fabs(sum_p - 1.0));
  auto const largest = std::find_if(axes.k.rbegin(), axes.k.rend(), [&](std::int64_t k) { return k < ranks.n; });
  if (largest == axes.k.rend()) return;
  auto const place = ranks.place_of_k[axes.k.rend() - largest - 1];
  checks.note(Check::sum_p, std::fabs((sums.kept1[place + 1] + sums.dropped1[place + 1]) / sums.z - 1.0));
  checks.note(Check::identity_kl, identity_kl_residual(row, sums, sigma, place));
}

double quadrature_residual(OrderStatistics const& row, DrawnRanks const& ranks, double sigma) {
  ExponentialSums single, twice;
  for (std::size_t i = 0; i < row.z.size(); ++i) {
    double const keys = ranks.keys_of_block(i);
    if (keys == 0.0) continue;
    for (bool const doubled : {false, true}) {
      auto part = normal_part(row.z[i], i + 1 < row.z.size() ? row.z[i + 1] : -infinity, doubled);
      for (auto& weight : part.nodes.weight) weight *= keys;
      (doubled ? twice : single).add(node_sums(part.nodes, 0, part.nodes.z.size(), sigma, row.z.front()));
    }
  }
  double worst = 0.0;
  for (auto const member : {&ExponentialSums::z1, &ExponentialSums::z2, &ExponentialSums::h}) {
    // Sums that double precision cannot hold are zero in both.
    if (std::fabs(twice.*member) > std::numeric_limits<double>::min())
      worst = std::max(worst, std::fabs(single.*member / (twice.*member) - 1.0));
  }
  return worst;
}

}  // namespace asymptop
