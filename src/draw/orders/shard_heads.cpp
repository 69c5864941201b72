#include "draw/orders/shard_heads.hpp"

#include <algorithm>

#include "draw/first_pass.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {
namespace {

/// Keys that are sorted at once for several stretches, at most.
constexpr GlobalIndex most_sorted = 16384;

/// list(row) of each row, on the host's threads.
template <class List>
std::vector<std::vector<PackedCandidate>> list_each(std::size_t rows, List const& list) {
  using Host = Kokkos::DefaultHostExecutionSpace;
  std::vector<std::vector<PackedCandidate>> lists(rows);
  Kokkos::parallel_for("Asymptop::select::stretch", Kokkos::RangePolicy<Host>(0, rows), [&](int const row) { lists[row] = list(row); });
  Host().fence();
  return lists;
}

}  // namespace

Range context_shard(GlobalIndex n, int shards, int p) { return {shard_of_context(n, shards, p), shard_of_context(n, shards, p + 1)}; }

StretchHeads::StretchHeads(EntryRows const& rows, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
    : rows_(rows), tensors_(tensors), phases_(phases) {
  PathRows queries{int_size(rows.queries.position), rows.d, rows.queries.q.data(), {}, {}, {}};
  queries.ranges = rows.queries.ranges_in(rows.shard);
  queries.softcap = rows.softcap;
  queries.alibi = rows.queries.alibi_in(rows.shard, rows.slope);
  batch_ = make_path_batch(rows.path, space_, queries, tile_sizes(space_, rows.block));
}

std::vector<std::vector<PackedCandidate>> StretchHeads::best(Range const& stretch, GlobalIndex keep) {
  std::vector<std::vector<PackedCandidate>> lists(rows_.queries.rows());
  auto const first = std::max(stretch.begin, rows_.shard.begin) - rows_.shard.begin,
             end = std::min(stretch.end, rows_.shard.end) - rows_.shard.begin;
  if (first >= end) return lists;
  std::vector<std::vector<PackedCandidate>> fresh;
  bool known = first >= sorted_keys_.begin && end <= sorted_keys_.end;
  if (!known) {
    Range const blocks{first / rows_.block * rows_.block,
                       std::min((end + rows_.block - 1) / rows_.block * rows_.block, rows_.shard.size())};
    // Keys of the blocks that lie outside the stretch may all be better than those inside. Where more stretches follow in these blocks, all
    // their keys are sorted once.
    bool const for_more = blocks.size() <= most_sorted && 2 * (end - first) <= blocks.size();
    auto const held = for_more ? blocks.size() : std::min(blocks.size(), keep + blocks.size() - (end - first));
    KeyWalk walk({blocks});
    auto const passed = first_pass(space_, *batch_, tensors_, checked_int(held), false, walk, phases_);
    fresh = list_each(lists.size(), [&](int row) { return passed.head(row); });
    sorted_keys_ = for_more ? blocks : Range{0, 0};
    sorted_.clear();
    if (for_more) sorted_ = std::move(fresh);
    known = for_more;
  }
  lists = list_each(lists.size(), [&](int row) {
    std::vector<PackedCandidate> list;
    for (auto const candidate : (known ? sorted_ : fresh)[row]) {
      if (std::ssize(list) == keep) break;
      if (index_of(candidate) >= first && index_of(candidate) < end) list.push_back(candidate);
    }
    return list;
  });
  phases_.stop(Phase::select);
  return lists;
}

}  // namespace asymptop
