// Simulated draws of a case group, rows shared out over ranks and threads.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "study/simulate/order_statistics.hpp"

namespace asymptop {

/// Rows of several draws, for every case of the group: on rank 0 all of them in order, elsewhere nothing.
struct SimulatedDraws {
  std::vector<CaseData> cases;
  std::vector<CheckResiduals> checks;  ///< worst over ranks, on all ranks; of the first two rows of a draw, `finite` of all
};

/// Draws [first, end) of the group. Every rank makes the same number of rows, give or take one. Collective.
SimulatedDraws simulate_draws(Communicator const& comm, RunConfig const& config, GroupPlan const& group, DrawnRanks const& ranks,
                              std::int64_t first, std::int64_t end);

}  // namespace asymptop
