// A number that each rank has its own of.
#pragma once

#include "comm/communicator.hpp"

namespace asymptop {

struct OverRanks {
  double min, mean, max;
};

/// Collective; for rates and times only: the order of the mean's sum is MPI's.
inline OverRanks over_ranks(Communicator const& comm, double mine) {
  return {-comm.max(-mine), comm.sum(mine) / comm.size(), comm.max(mine)};
}

}  // namespace asymptop
