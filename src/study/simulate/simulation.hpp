// Simulated draws of a case group, rows shared out over ranks and threads.
#pragma once

#include <cstdint>

#include "comm/communicator.hpp"
#include "plan/plan.hpp"
#include "study/draw_source.hpp"
#include "study/simulate/order_statistics.hpp"

namespace asymptop {

/// Draws [first, end) of the group; checks are of the first two rows of a draw, `finite` of all. No times. Every rank makes the same number
/// of rows, give or take one. Collective.
DrawResult simulate_draws(Communicator const& comm, RunConfig const& config, GroupPlan const& group, DrawnRanks const& ranks,
                          std::int64_t first, std::int64_t end);

}  // namespace asymptop
