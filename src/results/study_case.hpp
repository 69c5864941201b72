// A case as it is stored, finished or up to some draw: its plan, its numbers, its verdict.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "measure/case_data.hpp"
#include "measure/draw.hpp"
#include "plan/plan.hpp"

namespace asymptop {

struct StudyCase {
  RunConfig const* config = nullptr;
  GroupPlan const* group = nullptr;
  std::size_t law = 0;  ///< which of the group's cases
  std::string input;    ///< name_of(InputKind), `simulated` or the tensor file's name
  CaseData data;
  CheckResiduals checks;
  std::vector<std::array<double, phase_names.size()>> phase_seconds;  ///< per draw
  double seconds_total = 0.0;

  CasePlan const& plan() const { return group->cases[law]; }
  /// Draws that were done, so far.
  std::int64_t draws() const { return static_cast<std::int64_t>(data.row_n.size()) / config->rows; }
  /// Keeps the first ones. Residuals stay the worst of all: draws that are measured again have the same.
  void keep_draws(std::int64_t count);
  /// Of one pass over all keys; none are made for simulated rows.
  double score_flops() const;
  /// Largest |logit| of any row, for the tolerances.
  double largest_logit() const;
  /// Empty when valid; else the checks that failed, with residual and tolerance.
  std::string verdict_reason() const;
  char const* verdict() const { return verdict_reason().empty() ? "VALID" : "INVALID"; }
  /// Which kernels make its numbers.
  char const* path() const { return group->simulated ? "order-statistics" : group->fused ? "fused" : "blas-tile"; }
  /// For tensors: the root mean square of sigma_i; else the law's value.
  double sigma() const;
};

/// Mean over draws of per-draw means, and its standard error (NaN for one draw).
struct Estimate {
  double mean;
  double standard_error;
};

/// values: (draws, rows, width); the estimate for one column.
template <class T>
Estimate estimate(std::vector<T> const& values, std::size_t draws, std::size_t width, std::size_t column) {
  std::vector<double> means;
  std::size_t const rows = values.size() / draws / width;
  for (std::size_t d = 0; d < draws; ++d) {
    double sum = 0.0;
    for (std::size_t r = 0; r < rows; ++r) sum += static_cast<double>(values[(d * rows + r) * width + column]);
    means.push_back(sum / static_cast<double>(rows));
  }
  double mean = 0.0, square = 0.0;
  for (auto const value : means) mean += value / static_cast<double>(draws);
  for (auto const value : means) square += (value - mean) * (value - mean);
  double const count = static_cast<double>(draws);
  return {mean, std::sqrt(square / (count - 1.0) / count)};
}

}  // namespace asymptop
