// A row of which each law of sigma keeps another set of keys without weights at every k: the errors of these sets.
#pragma once

#include <cstdint>
#include <vector>

#include "row/head_ranks.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// A kept key and its true score.
struct KeptKey {
  GlobalIndex key;
  float score;
};

/// `row` has its head, of at least as many keys as any set, and is evaluated.
class PrunedRow {
 public:
  explicit PrunedRow(OwnedRow const& row);
  /// What is dropped is summed itself: the head without the set, and what lies beyond the head without the set's keys there, which are no
  /// more than the head's that it lacks and weigh no more than those.
  double tail_mass(std::vector<KeptKey> const& kept, double sigma, std::size_t law) const;

 private:
  OwnedRow const& row_;
  HeadRanks rank_of_;
};

}  // namespace asymptop
