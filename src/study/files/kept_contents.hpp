// With --resume nothing is lost: a case that is measured again, for something that it lacks, keeps all that it holds.
#pragma once

#include <optional>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// The options with, beside the k, epsilons and thresholds that are asked for, those of the planned cases that will be measured again; what
/// was asked for is its member `asked`. Nothing where no such case holds more. Says so on rank 0's stderr. Collective.
std::optional<RunConfig> with_kept_contents(Communicator const& comm, RunConfig const& config, StudyPlan const& plan);

/// For a run with --resume, which writes the results file anew from case files. Throws UsageError where it holds a case without a file of
/// its own that the run will not measure, or not with the same options and all k, epsilons and thresholds.
void check_nothing_lost(RunConfig const& config, StudyPlan const& plan);

/// Throws UsageError where a case of the plan has a file that is finished and VALID, but of options that make other numbers: --resume keeps
/// what is finished.
void check_nothing_replaced(RunConfig const& config, StudyPlan const& plan);

}  // namespace asymptop
