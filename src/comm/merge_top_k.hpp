// The global selection: sorted candidate lists of all ranks become, at the owner of each row, the row's k best.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "core/candidate.hpp"

namespace asymptop {

/// One sorted list (best first) of the total order.
using CandidateList = std::vector<Candidate>;

/// lists[i]: this rank's candidates of the i-th row, best first, of any length (also empty); `owners[i]` is ascending.
/// shard_begin[r] is rank r's first key. Returns, for each row that this rank owns, the best `keep` in the total order.
/// Ranks own ascending runs of keys, so equal scores are ordered by rank.
std::vector<CandidateList> merge_top_k(Communicator const& comm, std::vector<std::vector<PackedCandidate>> const& lists,
                                       std::vector<int> const& owners, std::vector<GlobalIndex> const& shard_begin, std::size_t keep);

}  // namespace asymptop
