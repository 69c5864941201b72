// What the plan has to know of tensor files.
#pragma once

#include <string>

#include "plan/plan.hpp"

namespace asymptop {

/// Why the group's rows cannot be had of a layer; empty when they can. Throws UsageError for options that do not go with what the layer is.
std::string reason_to_skip_tensors(GroupPlan const& group, RunConfig const& config, LayerShape const& layer);

}  // namespace asymptop
