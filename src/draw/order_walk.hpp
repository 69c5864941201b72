// A walk over all keys along the orders of some rows: how many keys and how much mass every stretch of an order holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "draw/entry_pass.hpp"

namespace asymptop {

/// Bins of a row's order. Entries stand at x, ascending: minus the priority, or the place; equal ones are ordered by entry. The end bins
/// hold what lies beyond as well. Inside `tie` (where there is one) bins 1 to bins - 2 are of entries instead, from `first_entry` on.
struct OrderGrid {
  static constexpr int bins = 4096;
  double low = 0.0, per_unit = 1.0;  ///< where bin 0 begins, and bins for each unit of x
  int tie = -1;
  double first_entry = 0.0, per_entry = 1.0;
  bool operator==(OrderGrid const&) const = default;

  static int clamped(double place, int last) { return static_cast<int>(std::min(std::max(place, 0.0), static_cast<double>(last))); }
  int bin_of(double x) const { return clamped((x - low) * per_unit, bins - 1); }
  int bin_of(double x, std::int64_t entry) const {
    int const bin = bin_of(x);
    if (tie < 0) return bin;
    if (bin != tie) return bin < tie ? 0 : bins - 1;
    return 1 + clamped((static_cast<double>(entry) - first_entry) * per_entry, bins - 3);
  }
};

/// What is asked of one row's order under one law.
struct OrderQuestion {
  int row;
  int selector;
  int law;
  float top;  ///< the row's largest score: masses are e^{sigma (s - top)}
  OrderGrid grid;
  int wanted = -1;  ///< the bin whose entries are asked for one by one; -1: the sums of all bins
};

struct OrderEntry {
  double x;
  std::int64_t entry, keys, mass;
};

/// Per question, of this rank's keys: (bins, 2) keys and fixed-point mass; or the entries of the wanted bin.
struct OrderAnswers {
  std::vector<std::vector<std::int64_t>> sums;
  std::vector<std::vector<OrderEntry>> entries;
};

struct OrderLaws {
  std::vector<double> sigma;
  double factor;  ///< of fixed-point masses
};

/// Questions are in the order of rows, and of a row in that of selectors. name_of(row): as RowOfKeys's. One set of scores serves them all.
OrderAnswers walk_orders(EntryRows const& rows, std::vector<Selector*> const& selectors, std::vector<OrderQuestion> const& questions,
                         OrderLaws const& laws, std::function<std::uint64_t(int row)> const& name_of, ShardTensors<RunSpace>& tensors,
                         PhaseTimes& phases);

}  // namespace asymptop
