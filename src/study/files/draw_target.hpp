// --target-se: how many draws until every standard error is small enough.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/timing.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

/// Throws UsageError for a name of --target-metrics that records of this study do not hold.
void check_target_metrics(RunConfig const& config, StudyPlan const& plan);

/// Metrics of a case whose standard error is over --target-se of their mean, as `tail_mass(64) 2.3%`; none without a target. A mean and
/// error of 0 meet any target; a single draw, which has no error, meets none.
std::vector<std::string> missed_targets(StudyCase const& study_case);

/// Why no more draws were added to a finished case that misses its target, as a clause: there are no more contexts in its texts whose rows
/// are apart, or as many draws as there can be, or --max-time was over. Empty where none is missed.
std::string why_ended(StudyCase const& study_case);

/// What the table says that errors are within, or over: `1%`.
std::string target_text(RunConfig const& config);

/// What the end of a run says of a case that did not meet its target; empty for one that did.
std::string missed_line(StudyCase const& study_case);

/// The number of draws after which to look again: those done, when all cases of the group meet their targets or `most` is reached; else as
/// many as the worst error asks for, at most twice those done. It depends on results alone.
std::int64_t draws_wanted(std::vector<StudyCase> const& cases, std::int64_t most);

/// The number of draws that a run wants which has come so far: --draws, or what it has decided since, which follows from the draws alone.
std::int64_t goal_after(std::vector<StudyCase> cases, std::int64_t most);

/// Decides, on rank 0 for all, how many draws of a group there are. --max-time is shared out among the groups that are still to come as
/// their estimated times are.
class DrawTarget {
 public:
  explicit DrawTarget(RunConfig const& config) : config_(config), begin_(PhaseTimes::Clock::now()) {}

  /// A group starts; `estimate` of its seconds, and of all from it on.
  void start(double estimate, double to_come);

  /// `done` draws are in the cases, which rank 0 has, and there were to be `goal`. Returns the new goal: `done` ends the group.
  /// Collective.
  std::int64_t goal(Communicator const& comm, std::vector<StudyCase> const& cases, std::int64_t done, std::int64_t goal,
                    std::int64_t most) const;

 private:
  double seconds() const { return std::chrono::duration<double>(PhaseTimes::Clock::now() - begin_).count(); }

  RunConfig const& config_;
  double deadline_ = 0.0;
  PhaseTimes::Clock::time_point begin_;
};

}  // namespace asymptop
