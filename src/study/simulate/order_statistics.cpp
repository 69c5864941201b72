#include "study/simulate/order_statistics.hpp"

#include <algorithm>
#include <boost/math/quadrature/gauss.hpp>
#include <boost/math/special_functions/erf.hpp>
#include <cmath>
#include <limits>

#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

/// Width of a block's first panel in standard deviations, and how far down phi is followed.
constexpr double first_panel = 0.25, cut_exponent = 40.0;

constexpr unsigned nodes_per_panel = 15;

/// The score with upper tail probability q; rest = 1 - q.
double normal_quantile(double q, double rest) {
  namespace bm = boost::math;
  using Policy = bm::policies::policy<bm::policies::promote_double<false>>;
  // Zero would need an exponential of 700: it cannot be drawn, but nothing may throw here.
  auto const upper = [](double tail) { return std::sqrt(2.0) * bm::erfc_inv(std::max(2.0 * tail, 1e-300), Policy()); };
  return q <= 0.5 ? upper(q) : -upper(rest);
}

/// Boost keeps the abscissas that are not negative.
template <unsigned Count>
void add_panel(double high, double low, double reference, Nodes& nodes) {
  using Rule = boost::math::quadrature::gauss<double, Count>;
  double const middle = (high + low) / 2.0, half = (high - low) / 2.0;
  auto const add = [&](double x, double weight) {
    double const z = std::clamp(middle + half * x, low, high);
    nodes.z.push_back(z);
    // phi(z) / phi(reference); a block of no width, as when its ends round to the same score, still has its nodes.
    nodes.weight.push_back(std::max(half, std::numeric_limits<double>::min()) * weight * std::exp((reference - z) * (reference + z) / 2.0));
  };
  auto const& abscissa = Rule::abscissa();
  auto const& weights = Rule::weights();
  for (std::size_t i = abscissa.size(); i-- > 0;) add(abscissa[i], weights[i]);
  for (std::size_t i = Count % 2; i < abscissa.size(); ++i) add(-abscissa[i], weights[i]);
}

}  // namespace

DrawnRanks drawn_ranks(std::int64_t n, std::vector<std::int64_t> const& k, Resolution const& resolution) {
  DrawnRanks ranks;
  ranks.n = n;
  std::vector<std::int64_t> wanted;
  for (double rank = exact_double(resolution.head); rank < ranks.all_keys() / std::exp2(0.5 / resolution.ranks_per_octave);
       rank *= std::exp2(1.0 / resolution.ranks_per_octave))
    wanted.push_back(std::llround(rank));
  for (auto const value : k) {
    wanted.push_back(value);
    if (value < n) wanted.push_back(value + 1);
  }
  std::sort(wanted.begin(), wanted.end());
  for (std::int64_t rank = 1; rank <= std::min(resolution.head, n); ++rank) ranks.rank.push_back(rank);
  auto const fill_to = [&](std::int64_t last) {
    for (auto rank = ranks.rank.back() + 1; rank <= last; ++rank) ranks.rank.push_back(rank);
  };
  for (auto const rank : wanted) {
    if (rank <= ranks.rank.back()) continue;
    if (rank - ranks.rank.back() <= resolution.smallest_block) {
      fill_to(rank);
    } else {
      ranks.rank.push_back(rank);
    }
  }
  if (n - ranks.rank.back() < resolution.smallest_block) fill_to(n);
  for (auto const value : k) ranks.place_of_k.push_back(std::lower_bound(ranks.rank.begin(), ranks.rank.end(), value) - ranks.rank.begin());
  return ranks;
}

double cut_off(double high, double low) {
  double const top = std::min(high, 0.0);
  return std::max(low, -std::sqrt(top * top + 2.0 * cut_exponent));
}

NormalPart normal_part(double high, double low, bool doubled) {
  double const end = cut_off(high, low);
  // Where phi is largest.
  double const reference = std::clamp(0.0, end, high);
  NormalPart part;
  double width = first_panel;
  for (double from = high;; width *= 2.0) {
    double const to = std::max(from - width, end);
    doubled ? add_panel<2 * nodes_per_panel>(from, to, reference, part.nodes) : add_panel<nodes_per_panel>(from, to, reference, part.nodes);
    if (to == end) break;
    from = to;
  }
  double sum = 0.0;
  for (auto const weight : part.nodes.weight) sum += weight;
  for (auto& weight : part.nodes.weight) weight /= sum;
  part.log_mass = std::log(sum) - reference * reference / 2.0;
  return part;
}

OrderStatistics draw_order_statistics(DrawnRanks const& ranks, RowStream& stream) {
  OrderStatistics row;
  row.z.reserve(ranks.rank.size());
  double q = 0.0, rest = 1.0;
  std::int64_t last = 0;
  for (auto const rank : ranks.rank) {
    double const left = ranks.keys_after(last);
    double part, stays;
    if (rank - last == 1) {
      double const spacing = stream.exponential() / left;
      part = -std::expm1(-spacing);
      stays = std::exp(-spacing);
    } else {
      double const above = stream.gamma(rank - last), below = stream.gamma(ranks.n - rank + 1);
      part = above / (above + below);
      stays = below / (above + below);
    }
    q += rest * part;
    rest *= stays;
    last = rank;
    // Neighbours closer than rounding must not change places.
    double const z = normal_quantile(q, rest);
    row.z.push_back(row.z.empty() ? z : std::min(z, row.z.back()));
  }
  for (std::size_t i = 0; i < ranks.rank.size(); ++i) {
    row.first_node.push_back(row.nodes.z.size());
    auto const keys = ranks.block(i);
    if (keys == 0) continue;
    auto const nodes = normal_part(row.z[i], i + 1 < row.z.size() ? row.z[i + 1] : -std::numeric_limits<double>::infinity()).nodes;
    std::vector<double> counts;
    double sum = 0.0;
    for (auto const share : nodes.weight) {
      // A block of one key, which only a coarse resolution has, keeps its mean.
      double const shape = static_cast<double>(std::max<std::int64_t>(keys - 1, 1)) * share;
      counts.push_back(shape > 0.0 ? stream.gamma(shape) : 0.0);
      sum += counts.back();
    }
    row.nodes.z.insert(row.nodes.z.end(), nodes.z.begin(), nodes.z.end());
    for (auto const count : counts) row.nodes.weight.push_back(ranks.keys_of_block(i) * count / sum);
  }
  row.first_node.push_back(row.nodes.z.size());
  row.deviate = stream.normal();
  return row;
}

}  // namespace asymptop
