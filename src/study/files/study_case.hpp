// A case as it is stored, finished or up to some draw: its plan, its numbers, its verdict.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/timing.hpp"
#include "config/run_config.hpp"
#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "row/estimate.hpp"
#include "row/packed_rows.hpp"

namespace asymptop {

struct StudyCase {
  RunConfig const* config = nullptr;
  GroupPlan const* group = nullptr;
  std::shared_ptr<GroupPlan const> own_group;  ///< that `group` points to, where a case was not measured by the plan of this run
  std::size_t law = 0;                         ///< which of the group's cases
  std::string input;                           ///< name_of(InputKind), `simulated` or the tensor file's name
  CaseData data;
  CheckResiduals checks;
  std::vector<std::array<double, phase_names.size()>> phase_seconds;  ///< per draw
  double seconds_total = 0.0;
  double device_peak_bytes = 0.0;  ///< of the memory of a rank's GPU, in the run that finished it; of the largest rank

  CasePlan const& plan() const { return group->cases[law]; }
  FieldAxes axes() const { return field_axes(*group, *config, plan()); }
  /// The self-checks that it has.
  std::vector<Check> checks_made() const { return checks_of(axes()); }
  /// Draws that were done, so far.
  std::int64_t draws() const { return std::ssize(data.count("row_n")) / group->counts.rows; }
  /// Keeps the first ones. Residuals stay the worst of all: draws that are measured again have the same.
  void keep_draws(std::int64_t count);
  /// Seconds of the first pass of all draws.
  double pass_seconds() const;
  /// Of one pass over all keys; none are made for simulated rows.
  double score_flops() const;
  /// Largest |logit_max| or |logit_mean| of any row, for the tolerances: of keys as they are multiplied.
  double largest_logit() const;
  /// The same of the keys as a file has them.
  double largest_of_file() const;
  /// Of all self-checks, in their order.
  using Tolerances = std::array<double, check_names.size()>;
  Tolerances tolerances() const;
  /// Empty when valid; else the checks that failed, with residual and tolerance, and what to do where fp32 has too few digits.
  std::string verdict_reason() const;
  char const* verdict() const { return verdict_reason().empty() ? "VALID" : "INVALID"; }
  /// Which kernels make its numbers.
  char const* path() const { return group->recorded_path(); }
  /// Names of the tensor file's texts: `a, b, c and 5 more`; empty where it has none.
  std::string texts() const;
  /// For tensors: the root mean square of sigma_i; else the law's value.
  double sigma() const;

 private:
  std::string output_advice() const;
  std::string softcap_advice() const;
};

}  // namespace asymptop
