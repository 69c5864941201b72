// Sorted candidate lists that know which rank each candidate is from: how merges hold rows and what they send.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/candidate.hpp"

namespace asymptop {

/// One sorted list (best first) of the total order.
using CandidateList = std::vector<Candidate>;

/// A row's best candidates on a run of ranks, best first. Indices count within the shard of the rank that the candidate is from.
struct SortedRow {
  std::vector<PackedCandidate> entries;
  std::vector<std::uint16_t> sources;  ///< of each entry, its rank
  std::size_t size() const { return entries.size(); }
  /// All entries are from one rank.
  void set_source(int rank) { sources.assign(entries.size(), static_cast<std::uint16_t>(rank)); }
};

/// Most ranks that sources can tell apart.
inline constexpr int most_merging_ranks = 1 << 16;

/// The best `keep` of both. All ranks of `lower` come before those of `higher`, so that equal scores prefer `lower`.
SortedRow merge_best(SortedRow const& lower, SortedRow const& higher, std::size_t keep);

/// The best `keep` of parts from ascending ranks; merged in pairs, so that short parts stay cheap.
SortedRow merge_best(std::vector<SortedRow> parts, std::size_t keep);

CandidateList global_candidates(SortedRow const& row, std::vector<GlobalIndex> const& shard_begin);

/// Whether a message says which rank each candidate is from, or they are all from its sender.
enum class Sources { sender, each };

/// Rows as one message: their lengths, the entries of all, then 4 sources to a word. 8 bytes a candidate, 10 with sources.
std::vector<std::uint64_t> row_message(std::span<SortedRow const> rows, Sources sources);

/// The `count` rows of a message.
std::vector<SortedRow> rows_of_message(std::vector<std::uint64_t> const& message, std::size_t count, Sources sources, int sender);

/// Calls visit(row) for rows 0, 1, ... on the host's threads.
template <class Visit>
void for_each_row(std::size_t rows, Visit const& visit) {
  if (rows == 1) return visit(0);
  using Host = Kokkos::DefaultHostExecutionSpace;
  Kokkos::parallel_for("Asymptop::comm::merge", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, rows),
                       [&](std::size_t const row) { visit(row); });
  Host().fence();
}

}  // namespace asymptop
