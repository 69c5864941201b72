// How fast messages and merges are among the ranks of this run: what the plan's cost model works with.
#pragma once

#include "comm/communicator.hpp"
#include "plan/merge_model.hpp"

namespace asymptop {

/// A probe of some milliseconds: the best of a few repetitions, the slowest rank of each. The same numbers on all ranks. Collective.
Network measure_network(Communicator const& comm);

}  // namespace asymptop
