// k_epsilon of selectors where their first keys are too few: the place in a row's whole order from which the mass left is epsilon.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/task.hpp"
#include "draw/orders/order_walk.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// What is known of a selector's order on one row, on its owner.
struct OrderRange {
  double first;  ///< where its best entry stands
  double width;  ///< of x: a guess at where most entries stand
};

struct Search;

/// The orders of all selectors of a batch that have one of their own: their best entries, and every k_epsilon beyond the keys that budgets
/// keep. Few of the keys say in which window of an order each answer lies, one walk over all keys finds the heads and what is in the
/// windows; where a window misses, the order is binned until few entries are in question.
class OrderSearch {
 public:
  /// selectors: null where there is no order to search.
  OrderSearch(SelectionBatch const& batch, EntryRows const& entries, std::vector<Selector*> selectors,
              std::function<std::uint64_t(int row)> name_of, std::vector<OwnedRow>& rows);
  ~OrderSearch();

  /// keep: per selector, entries of the heads that are wanted of those with priorities. Collective.
  Task<void> walk(std::vector<std::int64_t> keep);
  /// After walk(): this rank's best entries of one row of the batch, counted from its shard's first. Once for each.
  std::vector<PackedCandidate> take_head(std::size_t selector, int row) { return std::move(heads_[selector][row]); }
  /// Settles every k_epsilon of -1 in OwnedRow::selected. ranges: (selectors, rows). Collective. Returns, per selector, how many stay open
  /// on this rank: none, unless numbers are not finite.
  Task<std::vector<std::int64_t>> settle(std::vector<std::vector<OrderRange>> ranges);

 private:
  /// Asks the ranks what this rank's searches want to know, in one walk, and does what follows from each answer. keep: as walk()'s.
  Task<bool> ask(std::vector<Search>& open, std::vector<std::int64_t> keep);
  void answered(Search& search, std::int64_t const* sums, std::vector<OrderEntry> const& entries, int place);

  SelectionBatch const& batch_;
  EntryRows const& entries_;
  std::vector<Selector*> selectors_;
  std::function<std::uint64_t(int row)> name_of_;
  std::vector<OwnedRow>& rows_;
  OrderLaws laws_;
  std::vector<Search> searches_;
  std::vector<StoredWindow> windows_;
  EntryHeads heads_;
};

}  // namespace asymptop
