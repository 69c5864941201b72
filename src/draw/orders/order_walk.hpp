// A walk over keys along the orders of some rows: how many keys and how much mass every stretch of an order holds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "draw/orders/order_questions.hpp"
#include "draw/orders/order_store.hpp"

namespace asymptop {

struct OrderLaws {
  std::vector<double> sigma;
  double factor;  ///< of fixed-point masses
};

/// The best entries by priority that a walk finds: (selectors, rows of the batch), best first, counted from the shard's first entry.
/// Empty for selectors without priorities.
using EntryHeads = std::vector<std::vector<std::vector<PackedCandidate>>>;

/// What one walk is for. Questions are in the order of rows, and of a row in that of selectors; either all of them ask for samples, or
/// none. Those about windows are left alone.
struct OrderWork {
  std::vector<OrderQuestion> questions;
  std::vector<std::int64_t> keep{};  ///< per selector, entries of the heads; none if empty
  int sampled_one_in = 16;           ///< a sample is of one key in so many
};

/// What it brings: answers to the questions, windows where they are asked for (one a question), and heads.
struct OrderFindings {
  OrderAnswers answers;
  std::vector<StoredWindow> windows{};
  EntryHeads heads{};
  explicit OrderFindings(OrderWork const& work) : answers(work.questions) {}
};

/// One set of scores serves all questions. name_of(row): as RowOfKeys's.
void walk_orders(EntryRows const& rows, std::vector<Selector*> const& selectors, OrderWork const& work, OrderLaws const& laws,
                 std::function<std::uint64_t(int row)> const& name_of, ShardTensors<RunSpace>& tensors, PhaseTimes& phases,
                 OrderFindings& findings);

}  // namespace asymptop
