// What `asymptop simulate` will do: the same axes as a study's, without keys.
#pragma once

#include <string>

#include "plan/plan.hpp"

namespace asymptop {

/// Throws UsageError for a law that fails at some n, and for results that do not fit into this machine's memory.
StudyPlan plan_simulation(RunConfig const& config, Machine const& machine);

/// The plan as a person reads it.
std::string describe_simulation(StudyPlan const& plan, RunConfig const& config, Machine const& machine);

}  // namespace asymptop
