// What a group of a study costs: rough seconds, products, and the merges of its batches.
#pragma once

#include "plan/merge_model.hpp"
#include "plan/plan.hpp"

namespace asymptop {

MergeShape merge_shape(GroupPlan const& group, int ranks);

/// Seconds that so many ranks take for the group. The rank with the largest share of the keys, in whole blocks, counts.
double estimate_seconds(GroupPlan const& group, RunConfig const& config, Machine const& machine, int ranks);

/// Of all draws, scores and outputs.
double estimate_flops(GroupPlan const& group, RunConfig const& config);

}  // namespace asymptop
