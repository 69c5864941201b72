#include "draw/shard_heads.hpp"

#include <algorithm>

#include "config/errors.hpp"
#include "draw/first_pass.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

Range context_shard(GlobalIndex n, int shards, int p) { return {shard_of_context(n, shards, p), shard_of_context(n, shards, p + 1)}; }

StretchHeads::StretchHeads(EntryRows const& rows, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
    : rows_(rows), tensors_(tensors), phases_(phases) {
  PathRows queries{static_cast<int>(rows.queries.rows()), rows.d, rows.queries.q.data(), {}, {}, {}};
  for (auto const visible : rows.queries.visible)
    queries.limit.push_back(std::clamp<std::int64_t>(visible - rows.shard.begin, 0, rows.shard.size()));
  batch_ = make_path_batch(rows.path, space_, queries, tile_sizes(space_, rows.block));
}

std::vector<std::vector<PackedCandidate>> StretchHeads::best(Range const& stretch, GlobalIndex keep) {
  std::vector<std::vector<PackedCandidate>> lists(rows_.queries.rows());
  auto const first = std::max(stretch.begin, rows_.shard.begin) - rows_.shard.begin,
             end = std::min(stretch.end, rows_.shard.end) - rows_.shard.begin;
  if (first >= end) return lists;
  Range const blocks{first / rows_.block * rows_.block, std::min((end + rows_.block - 1) / rows_.block * rows_.block, rows_.shard.size())};
  // Keys of the blocks that lie outside the stretch may all be better than those inside.
  auto const outside = blocks.size() - (end - first);
  auto const held = std::min(blocks.size(), keep + outside);
  KeyWalk walk({blocks});
  auto const passed = first_pass(space_, *batch_, tensors_, static_cast<int>(held), false, walk, phases_);
  Kokkos::parallel_for("Asymptop::select::stretch",
                       Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, static_cast<int>(lists.size())), [&](int const row) {
                         auto list = passed.head(row);
                         std::erase_if(list, [&](auto candidate) { return index_of(candidate) < first || index_of(candidate) >= end; });
                         list.resize(std::min<std::size_t>(list.size(), keep));
                         lists[row] = std::move(list);
                       });
  Kokkos::DefaultHostExecutionSpace().fence();
  phases_.stop(Phase::select);
  return lists;
}

}  // namespace asymptop
