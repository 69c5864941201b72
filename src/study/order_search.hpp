// k_epsilon of selectors where their first keys are too few: the place in a row's whole order from which the mass left is epsilon.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/task.hpp"
#include "draw/order_walk.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// What is known of a selector's order on one row, on its owner.
struct OrderRange {
  double first;  ///< where its best entry stands
  double width;  ///< of x: a guess at where most entries stand
};

/// Settles every k_epsilon of -1 in OwnedRow::selected by walks over all keys, all selectors at once, until few entries are in question.
/// ranges: (selectors, rows). Collective. Returns, per selector, how many stay open on this rank: none, unless numbers are not finite.
Task<std::vector<std::int64_t>> settle_k_epsilon(SelectionBatch const& batch, EntryRows const& entries, std::vector<Selector*> selectors,
                                                 std::function<std::uint64_t(int row)> name_of, std::vector<std::vector<OrderRange>> ranges,
                                                 std::vector<OwnedRow>& rows);

}  // namespace asymptop
