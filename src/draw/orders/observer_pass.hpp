// Passes over the keys that say what observing queries attend to.
#pragma once

#include "comm/communicator.hpp"
#include "draw/orders/entry_pass.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

/// What observers look at.
struct ObservedContext {
  GlobalIndex n;                   ///< keys
  double sink;                     ///< a learned logit that is in Z and no key's, but for runs; -infinity: none
  std::vector<std::int64_t> ends;  ///< Observers::so_far: where what rows see ends, ascending
};

/// The weights that the observing queries `rows.queries` give to the keys that they see, summed: the same numbers on all ranks, and for
/// any number of them. A query's weights are e^(s - max) / Z in fp64 over its fp32 scores, Z a sum of integers; sums over queries are of
/// multiples of 2^-52. With runs of keys s is the antidiagonal product of a run of queries and one of keys (no softcap), over the length
/// of a run; runs of queries are counted from the last one back, and what a run lacks is 0. With Observers::so_far
/// there are sums for each number of observers that rows go by, of the rank's own keys. Collective.
Observation observe(Communicator const& comm, Observers const& wanted, EntryRows const& rows, ObservedContext const& context,
                    ShardTensors<RunSpace>& tensors);

}  // namespace asymptop
