#include "study/order_steps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/counts.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"

namespace asymptop {
namespace {

/// Entries that are looked at one by one at most, unless the search has no finer bins to offer.
constexpr std::int64_t few_entries = 4096;

/// Rounds of finer bins of x before entries that share one are taken as equal: 4096^2 is what fp32 tells apart.
constexpr int finer_rounds = 2;

/// Standard deviations of a sampled mass that a window allows on each side: one in 400 misses, and is binned after all.
constexpr double window_deviations = 3.0;

/// Entries that a window of n keys may be expected to hold, over all ranks: as doubt grows, with the root of n. And how many of them are
/// looked at one by one.
double most_in_window(std::int64_t n) { return 40.0 * std::sqrt(n); }
constexpr std::int64_t few_in_window = 256;
constexpr int bins_of_window = 128;

/// Asks for bins of the whole order.
void bin_all(Search& search) {
  search.question.ask = Ask::bins;
  search.question.grid = search.whole;
}

}  // namespace

std::int64_t keys_kept(Search const& search, double epsilon, std::vector<OrderEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](auto const& a, auto const& b) { return a.key < b.key || (a.key == b.key && a.entry < b.entry); });
  auto const target = search.target(epsilon);
  auto tail = search.mass_behind;
  auto kept = search.keys_before;
  for (auto const& entry : entries) kept += entry.keys;
  // From the far end, so that the tail is summed itself.
  for (auto entry = entries.rbegin(); entry != entries.rend() && tail + entry->mass <= target; ++entry) {
    tail += entry->mass;
    kept -= entry->keys;
  }
  return kept;
}

void look_closer(Search& search, double epsilon, std::int64_t const* sums, int page) {
  auto& question = search.question;
  auto& grid = question.grid;
  if (question.store < 0) {
    search.all = 0;
    for (int bin = 0; bin < grid.bins; ++bin) search.all += sums[2 * bin + 1];
  }
  auto const target = search.target(epsilon);
  int bin = grid.bins - 1;
  search.mass_behind = search.mass_beyond;
  for (; bin > 0 && search.mass_behind + sums[2 * bin + 1] <= target; --bin) search.mass_behind += sums[2 * bin + 1];
  search.keys_before = search.keys_ahead;
  for (int before = 0; before < bin; ++before) search.keys_before += sums[2 * before];
  if (sums[2 * bin] / page <= few_entries) {
    question.ask = Ask::entries;
    question.wanted = bin;
  } else if (grid.tie >= 0) {
    // Finer bins of entries; the first of them is bin 1.
    grid.first_entry += (bin - 1) / grid.per_entry;
    grid.per_entry *= grid.bins - 2;
  } else if (bin == grid.bins - 1) {
    grid.per_unit /= 64.0;
  } else if (search.finer < finer_rounds) {
    ++search.finer;
    // From a little ahead of the bin, so that the first of the finer ones holds only what is known to come before.
    grid.low = grid.edge(bin) - 1.0 / (grid.per_unit * grid.bins);
    grid.per_unit *= grid.bins;
  } else {
    grid.tie = bin;
  }
}

void choose_window(Search& search, SampledOrder const& order, std::int64_t const* sums) {
  auto const& grid = search.question.grid;
  int const bins = grid.bins;
  auto const of = [sums](int bin, BinSum sum) { return static_cast<double>(sums[3 * bin + sum]); };
  double keys = 0.0;
  for (int bin = 0; bin < bins; ++bin) keys += of(bin, bin_keys);
  double const scale = exact_double(order.visible) / std::max(keys, 1.0);
  // From the far end: the mass from here on, and its variance, which is that of keys being in the sample or not.
  double mass = 0.0, variance = 0.0, inside = 0.0;
  int low = -1, high = bins;
  for (int bin = bins - 1; bin >= 0; --bin) {
    mass += scale * of(bin, bin_mass);
    variance += scale * (scale - 1.0) * of(bin, bin_squares) * order.unit * order.page;
    double const doubt = window_deviations * std::sqrt(variance);
    if (mass + doubt < order.target) {
      high = bin;
    } else {
      inside += scale * of(bin, bin_keys) / order.page;
    }
    if (mass - doubt > order.target) {
      low = bin;
      break;
    }
  }
  double ahead = 0.0;
  for (int bin = 0; bin < high; ++bin) ahead += scale * of(bin, bin_keys) / order.page;
  bool const bounded = (low > 0 || high < bins) && ahead > 0.9 * exact_double(order.held);
  if (!bounded || inside > most_in_window(order.visible)) {
    search.idle = true;
    return;
  }
  auto const key_at = [&](int bin) {
    double const x = grid.edge(bin);
    return order.places ? key_of_place(to_integer(std::clamp(x, 0.0, exact_double(most_places - 1)))) : key_of_priority(to_fp32(-x));
  };
  using Limits = std::numeric_limits<OrderKey>;
  search.question.ask = Ask::window;
  search.question.low = low > 0 ? key_at(low) : Limits::min();
  search.question.high = high < bins ? key_at(high) : Limits::max();
  search.question.grid = {};
  search.question.expected = checked_int(inside);
}

void look_into_window(Search& search, double epsilon, bool places) {
  search.idle = false;
  if (search.window.empty()) {
    bin_all(search);
    return;
  }
  auto const& sums = search.window;
  auto const target = share_of_sums(epsilon, sums[mass_of_all], search.sink), behind = sums[mass_behind];
  auto& question = search.question;
  if (sums[too_many] != 0 || behind > target || behind + sums[mass_inside] <= target) {
    bin_all(search);
    return;
  }
  question.store = search.store;
  question.expected = 0;
  search.all = sums[mass_of_all];
  search.keys_before = search.keys_ahead = sums[keys_before];
  search.mass_behind = search.mass_beyond = sums[mass_behind];
  auto& grid = question.grid;
  grid.per_entry = search.whole.per_entry * (bins_of_window - 2) / (search.whole.bins - 2);
  if (sums[entries_inside] <= few_in_window) {
    question.ask = Ask::entries;
    question.wanted = 0;
    grid.bins = 1;
    return;
  }
  question.ask = Ask::bins;
  grid.bins = bins_of_window;
  using Limits = std::numeric_limits<OrderKey>;
  double const low = question.low > Limits::min() ? standing_of(question.low, places) : search.whole.low,
               high = question.high < Limits::max() ? standing_of(question.high, places) : search.whole.edge(search.whole.bins);
  grid.per_unit = (bins_of_window - 1) / std::max(high - low, 1e-30);
  grid.low = low - 1.0 / grid.per_unit;
}

}  // namespace asymptop
