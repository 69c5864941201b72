// What is asked of the orders of rows, and what a rank answers from its keys.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/core/counts.hpp"
#include "kernels/select/order_keys.hpp"

namespace asymptop {

/// Bins of a row's order, by where entries stand, x; those that stand at the same x are ordered by entry. The end bins
/// hold what lies beyond as well. Inside `tie` (where there is one) bins 1 to bins - 2 are of entries instead, from `first_entry` on.
struct OrderGrid {
  static constexpr int most_bins = 4096;
  double low = 0.0, per_unit = 1.0;  ///< where bin 0 begins, and bins for each unit of x
  int bins = most_bins;
  int tie = -1;
  double first_entry = 0.0, per_entry = 1.0;
  bool operator==(OrderGrid const&) const = default;

  static int clamped(double place, int last) { return static_cast<int>(std::min<double>(std::max(place, 0.0), last)); }
  int bin_of(double x) const { return clamped((x - low) * per_unit, bins - 1); }
  int bin_of(double x, std::int64_t entry) const {
    int const bin = bin_of(x);
    if (tie < 0) return bin;
    if (bin != tie) return bin < tie ? 0 : bins - 1;
    return 1 + clamped((exact_double(entry) - first_entry) * per_entry, bins - 3);
  }
  double edge(int bin) const { return low + bin / per_unit; }
};

enum class Ask {
  range,    ///< the first and the last key among a few
  sample,   ///< keys, mass and squared mass of every bin, over some of the keys
  bins,     ///< keys and mass of every bin
  window,   ///< keys and mass before, inside and behind a stretch of the order, whose entries stay with the ranks that have them
  entries,  ///< the entries of one bin, one by one
};

/// What is asked of one row's order under one law.
struct OrderQuestion {
  int row;
  int selector;
  int law;
  float top;  ///< the row's largest score: masses are e^{sigma (s - top)}
  Ask ask = Ask::bins;
  OrderGrid grid{};            ///< but of windows
  int wanted = 0;              ///< the bin of entries
  OrderKey low = 0, high = 0;  ///< of a window: both are inside
  int store = -1;              ///< the window whose entries are asked about, not the keys
  int expected = 0;            ///< entries that a window should find, on all ranks
  bool operator==(OrderQuestion const&) const = default;

  /// Sums of an answer.
  std::size_t length() const;
};

/// Sums of a window.
enum WindowSum : std::size_t { keys_before, mass_inside, mass_behind, mass_of_all, entries_inside, too_many, window_sums };

/// Sums of each bin of a sample; other bins have the first two.
enum BinSum : std::size_t { bin_keys, bin_mass, bin_squares };
constexpr std::size_t sums_of_bin(Ask ask) { return ask == Ask::sample ? 3 : 2; }

inline std::size_t OrderQuestion::length() const {
  if (ask == Ask::window) return window_sums;
  return ask == Ask::entries || ask == Ask::range ? 0 : sums_of_bin(ask) * grid.bins;
}

/// Of two that have one key the smaller entry comes first.
struct OrderEntry {
  OrderKey key;
  std::int64_t entry, keys, mass;
};

/// Of this rank's keys: the sums of each question, one after another, and the entries of those that ask for them.
struct OrderAnswers {
  std::vector<std::size_t> begin{0};  ///< per question, and the end
  std::vector<std::int64_t> sums;
  std::vector<std::vector<OrderEntry>> entries;

  explicit OrderAnswers(std::vector<OrderQuestion> const& questions) : entries(questions.size()) {
    for (auto const& question : questions) begin.push_back(begin.back() + question.length());
    sums.assign(begin.back(), 0);
  }
  std::int64_t* of(std::size_t question) { return sums.data() + begin[question]; }
};

}  // namespace asymptop
