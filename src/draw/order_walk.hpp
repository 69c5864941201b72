// A walk over keys along the orders of some rows: how many keys and how much mass every stretch of an order holds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "draw/entry_pass.hpp"
#include "draw/order_questions.hpp"
#include "draw/order_store.hpp"

namespace asymptop {

struct OrderLaws {
  std::vector<double> sigma;
  double factor;  ///< of fixed-point masses
};

/// A sample is of one key in so many.
constexpr int sampled_one_in = 16;

/// Adds what keys say to the answers of the questions that are not about windows, and fills `windows`, one for each question, where
/// windows are asked for. Either all of them ask for samples, or none. Questions are in the order of rows, and of a row in that of
/// selectors. name_of(row): as RowOfKeys's. One set of scores serves them all.
void walk_orders(EntryRows const& rows, std::vector<Selector*> const& selectors, std::vector<OrderQuestion> const& questions,
                 OrderLaws const& laws, std::function<std::uint64_t(int row)> const& name_of, ShardTensors<RunSpace>& tensors,
                 PhaseTimes& phases, std::vector<StoredWindow>& windows, OrderAnswers& answers);

}  // namespace asymptop
