// Orders that go through shards of the context side by side: the t-th entry is the t-th best key of every shard.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "draw/orders/entry_pass.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// The beginning of such an order on one row, at its owner. Keys of an entry are in the order of their shards.
struct ShardOrder {
  SelectedKeys beginning;
  std::vector<float> best, last;  ///< per shard: scores of the best key and of the last one that is held; NaN where none is seen
};

/// Per own row. entries_of_k: entries that each k of the axis pays for. A shard may lie on several ranks, and a rank hold several of them:
/// each is merged as the whole row is. Collective.
Task<std::vector<ShardOrder>> order_by_shards(SelectionBatch const& batch, EntryRows const& entries, int shards,
                                              std::vector<std::int64_t> const& entries_of_k, std::vector<OwnedRow> const& rows);

/// Settles every k_epsilon of -1 in the last of OwnedRow::selected by walks over all keys, along which the keys of every shard that are in
/// question grow fewer. Collective. Returns how many stay open on this rank: none, unless numbers are not finite.
Task<std::int64_t> settle_shards(SelectionBatch const& batch, EntryRows const& entries, int shards, std::vector<ShardOrder> const& orders,
                                 std::vector<OwnedRow>& rows);

}  // namespace asymptop
