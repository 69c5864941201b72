// What a row's owner makes of the second pass's answers: quantiles, counts, and errors at ranks beyond the head.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "kernels/core/math.hpp"
#include "row/row_metrics.hpp"
#include "row/segment_sums.hpp"

namespace asymptop {
namespace {

constexpr float infinite_score = std::numeric_limits<float>::infinity();

/// A window held more scores than could be collected: halve it; or, where the scores take only a few values (equal or nearly equal
/// keys), single one of them out, whose count is all that is needed.
void narrow(Probe& probe, ProbeAnswer& answer) {
  constexpr std::size_t few_values = 8;
  auto& seen = answer.collected;
  std::sort(seen.begin(), seen.end());
  float const pivot = seen[seen.size() / 2], smallest = seen.front();
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  if (seen.size() <= few_values) {
    probe.high = pivot;
    probe.low = std::nextafter(pivot, -infinite_score);
    return;
  }
  float const middle = std::isfinite(probe.low) && std::isfinite(probe.high) ? probe.low + (probe.high - probe.low) * 0.5f : smallest;
  probe.low = std::max(probe.low, std::nextafter(middle, -infinite_score));
}

}  // namespace

bool settle(Probe& probe, ProbeAnswer& answer, RowBins const& grid, RowMetrics& metrics, double sigma, double score_max) {
  std::size_t const item = probe.item;
  if (probe.kind == Probe::Kind::count_above) {
    metrics.count("count_p_above")[item] = probe.keys_above_bin + answer.above.count;
    return true;
  }
  auto const mass_of = [&](float score) { return std::exp(sigma * (score - score_max)); };
  double const centre = grid.centre(probe.bin) - score_max;
  bool const one_value = probe.low != probe.high && std::nextafter(probe.low, infinite_score) == probe.high;
  bool const whole = std::ssize(answer.collected) == answer.inside;
  // Tail mass once everything above the window is kept: lower bins, the bin below the window, the window itself.
  BinMoments rest = probe.bin_total;
  rest.count -= answer.above.count;
  rest.first -= answer.above.first;
  rest.second -= answer.above.second;
  double const with_window = probe.mass_below_bin + bin_sums(rest, sigma, grid.width(), centre).z1;
  double inside = 0.0;
  if (one_value) {
    inside = exact_double(answer.inside) * mass_of(probe.high);
  } else if (whole) {
    for (auto const score : answer.collected) {
      auto const binned = bin_score(score, grid.grid, grid.first_bin);
      rest.count -= 1;
      rest.first -= binned.r;
      rest.second -= binned.r2;
      inside += mass_of(score);
    }
  }
  double const without_window = one_value ? with_window - inside : probe.mass_below_bin + bin_sums(rest, sigma, grid.width(), centre).z1;
  bool const too_low = with_window <= probe.target && probe.high < probe.bracket_high;
  if (!one_value && !whole && !too_low) {
    narrow(probe, answer);
    return false;
  }
  bool const too_high = without_window > probe.target && probe.low > probe.bracket_low;
  if (too_low || too_high) {
    (too_low ? probe.bracket_low : probe.bracket_high) = too_low ? probe.high : probe.low;
    probe.half_width *= 4.0;
    float const width = to_fp32(2.0 * probe.half_width * grid.width());
    probe.low = too_low ? probe.bracket_low : std::max(probe.bracket_low, probe.bracket_high - width);
    probe.high = too_low ? std::min(probe.bracket_high, probe.bracket_low + width) : probe.bracket_high;
    probe.capacity *= 4;
    return false;
  }
  std::int64_t kept = 0;
  if (one_value) {
    kept = to_integer(std::ceil((with_window - probe.target) / mass_of(probe.high)));
    kept = std::clamp<std::int64_t>(kept, 0, answer.inside);
  } else {
    // From the small end, so that the tail is summed itself.
    std::sort(answer.collected.begin(), answer.collected.end());
    double tail = without_window;
    std::int64_t out = 0;
    while (out < std::ssize(answer.collected) && tail + mass_of(answer.collected[out]) <= probe.target)
      tail += mass_of(answer.collected[out++]);
    kept = answer.inside - out;
  }
  metrics.count("k_epsilon")[item] = probe.keys_above_bin + answer.above.count + kept;
  return true;
}

void settle_rank(Probe const& probe, ProbeAnswer const& answer, RowBins const& grid, std::vector<RowMetrics>& laws, MetricAxes const& axes,
                 double score_max) {
  std::size_t const item = probe.item;
  BinMoments rest = probe.bin_total;
  rest.count -= answer.above.count;
  rest.first -= answer.above.first;
  rest.second -= answer.above.second;
  auto const counted = probe.keys_above_bin + answer.above.count;
  double const centre = grid.centre(probe.bin) - score_max;
  for (std::size_t law = 0; law < laws.size(); ++law) {
    auto& metrics = laws[law];
    double const sigma = axes.sigma[law], z = metrics.z;
    // The tail is summed itself; the head, of more keys than could be held, is no small difference.
    auto tail = probe.below[law];
    tail.add(bin_sums(rest, sigma, grid.width(), centre));
    CutSums cut{z, z - tail.z1, std::max(metrics.one("sum_p_squared") * z * z - tail.z2, 0.0), tail.z1, tail.z2, 0.0};
    // The largest p below the threshold is not known to the last digit; it is at most the threshold's.
    double const next = cut.largest_dropped = std::exp(sigma * (probe.high - score_max));
    // Keys between the ranks lie in this bin, so each of their p is at most that of its upper edge.
    double const largest = std::exp(sigma * (centre + 0.5 * grid.width())) / z;
    settle_errors(metrics, item, errors_of_cut(cut, [&] { return tail.z2 / next / next; }), counted,
                  std::fabs(axes.k[item] - counted) * largest);
  }
}

}  // namespace asymptop
