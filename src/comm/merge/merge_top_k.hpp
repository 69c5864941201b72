// The global selection: sorted candidate lists of all ranks become, at the owner of each row, the row's k best.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "comm/task.hpp"
#include "config/merge_strategy.hpp"

namespace asymptop {

/// lists[i]: this rank's candidates of the i-th row, best first, of any length (also empty); `owners[i]` is ascending.
/// shard_begin[r] is rank r's first key. Returns, for each row that this rank owns, the best `keep` in the total order.
/// Ranks own ascending runs of keys, so equal scores are ordered by rank. The same bytes for every strategy (not `automatic`, which is the
/// plan's to settle, nor `device`). Runs beside other work; finish(merge_top_k(...)) waits for it.
Task<std::vector<CandidateList>> merge_top_k(Communicator const& comm, MergeStrategy strategy,
                                             std::vector<std::vector<PackedCandidate>> lists, std::vector<int> owners,
                                             std::vector<GlobalIndex> shard_begin, std::size_t keep);

/// Bytes that a merge of one row of each owner brings to the busiest rank.
std::size_t merge_memory(MergeStrategy strategy, int ranks, std::size_t keep);

}  // namespace asymptop
