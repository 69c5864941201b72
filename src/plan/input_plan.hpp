// What the plan has to know of synthetic inputs.
#pragma once

#include <string>

#include "config/run_config.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// Bins of one row, at most: fp32 scores tell no more apart.
inline constexpr double most_bins = 9e5;

/// What the steepest ALiBi slope of the group's heads adds to the span of a row's scores.
double steepest_span(GroupPlan const& group);

/// The span that a row's bins cover at most. Beside slopes they may be coarsest_bins times as wide: what is spread so far is far keys,
/// which weigh nothing where slopes are positive, as models' are, while rounding of near ones stays what it is.
double widest_span(GroupPlan const& group);

/// Units of sigma_i that a row's scores may span, which its bins cover; for Student's t about what the largest of n d numbers makes likely.
double score_span(GroupPlan const& group);

/// How much longer than normals the numbers of an input take.
double cost_of_input(InputKind const& kind);

/// Why the group's input cannot be measured at its size; empty when it can.
std::string reason_to_skip_input(GroupPlan const& group);

}  // namespace asymptop
