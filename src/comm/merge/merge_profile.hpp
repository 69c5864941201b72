// The global softmax profile: binned moments of all ranks are added up at the owner of each row.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/collectives.hpp"

namespace asymptop {

/// Items of each rank: of the rows that it owns, `row_length` each.
inline std::vector<std::size_t> items_of_owners(Communicator const& comm, std::vector<int> const& owners, std::size_t row_length) {
  std::vector<std::size_t> counts(comm.size(), 0);
  for (int const owner : owners) counts[owner] += row_length;
  return counts;
}

/// moments: for each row, in owner order, `row_length` integers. The result: the sums of the rows that this rank owns.
/// Integer sums are exact, so the result has the same bits for any number of ranks and any order.
inline Task<std::vector<std::int64_t>> merge_profile(Communicator const& comm, std::vector<std::int64_t> moments,
                                                     std::vector<int> const& owners, std::size_t row_length) {
  return reduce_scatter(comm, std::move(moments), items_of_owners(comm, owners, row_length));
}

}  // namespace asymptop
