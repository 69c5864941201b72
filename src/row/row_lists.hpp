// Rows on their way to their owners: which ones travel together, and a rank's own candidates of them.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "kernels/core/candidate.hpp"
#include "kernels/core/counts.hpp"
#include "shard/partition.hpp"

namespace asymptop {

/// Bytes that one merge may bring to a rank, beyond a single row of each owner.
inline constexpr std::size_t merge_bytes = 32u << 20;

/// Rows merged together: the same number from every owner, so that all ranks have work, within a bound on memory.
/// `bytes_per_row`: what one row brings to its owner from all ranks.
inline std::vector<std::vector<int>> merge_groups(int rows, int ranks, std::size_t bytes_per_row) {
  GlobalIndex const per_owner = std::max<std::size_t>(1, merge_bytes / bytes_per_row);
  std::vector<std::vector<int>> groups;
  for (GlobalIndex step = 0;; step += per_owner) {
    std::vector<int> group;
    for (int r = 0; r < ranks; ++r) {
      auto const own = owned_rows(rows, r, ranks);
      for (auto row = own.begin + step; row < std::min(own.end, own.begin + step + per_owner); ++row) group.push_back(checked_int(row));
    }
    if (group.empty()) return groups;
    groups.push_back(group);
  }
}

/// The rank that owns each of the rows. `all`: how many rows there are.
inline std::vector<int> row_owners(std::vector<int> const& rows, int all, int ranks) {
  std::vector<int> owners;
  for (int const row : rows) {
    int owner = 0;
    while (owned_rows(all, owner, ranks).end <= row) ++owner;
    owners.push_back(owner);
  }
  return owners;
}

/// This rank's candidates of some rows, best first; `head(row)` gives them, from any thread.
template <class Head>
std::vector<std::vector<PackedCandidate>> sorted_lists(Head const& head, std::vector<int> const& rows) {
  std::vector<std::vector<PackedCandidate>> lists(rows.size());
  Kokkos::parallel_for("Asymptop::measure::sort", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, rows.size()),
                       [&](int const i) { lists[i] = head(rows[i]); });
  Kokkos::DefaultHostExecutionSpace().fence();
  return lists;
}

}  // namespace asymptop
