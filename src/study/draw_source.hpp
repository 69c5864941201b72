// Where a study's rows come from: queries over keys, or rows that are simulated without keys.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/timing.hpp"
#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "row/partial_draw.hpp"

namespace asymptop {

/// Rows of some draws, for every case of a group: on rank 0 all of them in order, elsewhere nothing.
struct DrawResult {
  bool stopped = false;  ///< at a break: there are no results, and what was found so far was saved
  std::vector<CaseData> cases;
  std::vector<CheckResiduals> checks;                                 ///< worst over ranks, on all ranks
  std::vector<std::array<double, phase_names.size()>> phase_seconds;  ///< per draw; slowest rank
};

class DrawSource {
 public:
  virtual ~DrawSource() = default;
  /// Draws of a group follow; `index`: its place in the plan, `group`: what is left of it, alive while they are made. `breaks` is asked
  /// within a draw where the plan has breaks. Returns the rate of sgemm at the group's shape in GFLOP/s, 0 without keys. Collective.
  virtual double start(std::size_t index, GroupPlan const& group, DrawBreaks& breaks) = 0;
  /// Draws that it makes at once.
  virtual std::int64_t at_once() const = 0;
  /// Draws [first, end). earlier: what is known of the first one from a run that was stopped within it. Collective.
  virtual DrawResult make(std::int64_t first, std::int64_t end, PartialDraw earlier) = 0;
};

}  // namespace asymptop
