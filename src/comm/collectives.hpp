// Collective calls that run beside other work. As with Exchange, those of one communicator follow one another.
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/task.hpp"

namespace asymptop {

/// The ranks but this one, each in turn from the next on, so that not all send to the same one first.
std::vector<int> other_ranks(Communicator const& comm);

/// parts[r] goes to rank r. Returns what came from each rank, its own part included. T: float, uint32, int64, uint64, double.
template <class T>
Task<std::vector<std::vector<T>>> all_to_all(Communicator const& comm, std::vector<std::vector<T>> parts);

/// Everyone gets every rank's items, in rank order. T: float, int64.
template <class T>
Task<std::vector<T>> all_gather(Communicator const& comm, std::vector<T> values);

/// Rank 0 gets every rank's items; the others nothing. T: double, char.
template <class T>
Task<std::vector<std::vector<T>>> gather(Communicator const& comm, std::vector<T> values);

/// Element-wise sum over ranks (exact in any order); rank r keeps `counts[r]` of them.
Task<std::vector<std::int64_t>> reduce_scatter(Communicator const& comm, std::vector<std::int64_t> values, std::vector<std::size_t> counts);

/// The same of values that stay where they are, in memory that MPI reads and this program perhaps cannot, a device's. `own`: a copy of
/// those that this rank keeps.
Task<std::vector<std::int64_t>> reduce_scatter(Communicator const& comm, std::span<std::int64_t const> values,
                                               std::vector<std::int64_t> own, std::vector<std::size_t> counts);

/// Element-wise reduction over ranks; sizes agree. T: double, int64.
template <class T>
Task<std::vector<T>> all_reduce(Communicator const& comm, std::vector<T> values, MPI_Op op);

/// Everyone gets the root's items; sizes agree. T: float, int64, char.
template <class T>
Task<std::vector<T>> broadcast(Communicator const& comm, std::vector<T> values, int root);

}  // namespace asymptop
