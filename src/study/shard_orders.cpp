#include "study/shard_orders.hpp"

#include <algorithm>
#include <limits>

#include "comm/merge/merge_top_k.hpp"
#include "config/errors.hpp"
#include "draw/orders/shard_heads.hpp"
#include "row/row_lists.hpp"

namespace asymptop {
namespace {

/// lists: of each shard, best first.
ShardOrder side_by_side(std::vector<CandidateList> const& lists, std::vector<std::int64_t> const& entries_of_k) {
  ShardOrder order;
  auto& beginning = order.beginning;
  beginning.entries = entries_of_k;
  std::size_t longest = 0;
  for (auto const& list : lists) {
    constexpr float none = std::numeric_limits<float>::quiet_NaN();
    longest = std::max(longest, list.size());
    order.best.push_back(list.empty() ? none : list.front().score);
    order.last.push_back(list.empty() ? none : list.back().score);
  }
  for (std::size_t t = 0; t < longest; ++t) {
    for (auto const& list : lists) {
      if (t >= list.size()) continue;
      beginning.keys.push_back(list[t].index);
      beginning.scores.push_back(list[t].score);
    }
    beginning.ends.push_back(std::ssize(beginning.keys));
  }
  return order;
}

}  // namespace

Task<std::vector<ShardOrder>> order_by_shards(SelectionBatch const& batch, EntryRows const& entries, int shards,
                                              std::vector<std::int64_t> const& entries_of_k, std::vector<OwnedRow> const& rows) {
  auto const& comm = batch.comm;
  auto const n = batch.group.n;
  int const all = int_size(batch.queries.position);
  std::vector<GlobalIndex> begins;
  for (int r = 0; r < comm.size(); ++r) begins.push_back(key_shard(n, batch.setup.config->block, r, comm.size()).begin);
  StretchHeads heads(entries, *batch.setup.tensors, batch.phases);
  std::vector<std::vector<CandidateList>> lists(rows.size(), std::vector<CandidateList>(shards));
  for (int p = 0; p < shards; ++p) {
    auto const shard = context_shard(n, shards, p);
    auto const keep = std::min<GlobalIndex>(entries_of_k.back(), shard.size());
    if (keep == 0) continue;
    co_await batch.turn;
    batch.phases.start();
    auto own = heads.best(shard, keep);
    std::size_t at = 0;
    for (auto const& group : merge_groups(all, comm.size(), merge_memory(batch.group.merge, comm.size(), keep))) {
      std::vector<std::vector<PackedCandidate>> together;
      for (int const row : group) together.push_back(std::move(own[row]));
      auto merging = merge_top_k(comm, batch.group.merge, std::move(together), row_owners(group, all, comm.size()), begins, keep);
      for (auto& list : co_await merging) {
        auto const seen = rows[at].seen().within(shard.begin, shard.end).size();
        if (std::ssize(list) < std::min(keep, seen)) throw RunError("scores leave the range of fp32; check the tensors and --scale");
        lists[at++][p] = std::move(list);
      }
    }
    batch.phases.stop(Phase::merge);
  }
  std::vector<ShardOrder> orders;
  for (auto& of_row : lists) {
    orders.push_back(side_by_side(of_row, entries_of_k));
    of_row = {};
  }
  co_return std::move(orders);
}

}  // namespace asymptop
