// The axes of a study of arithmetic become explicit cases.
#pragma once

#include <string>
#include <vector>

#include "plan/plan.hpp"
#include "precision/config.hpp"

namespace asymptop {

/// Rows of one length under one sigma law, for all sets of formats.
struct PrecisionCase {
  std::string id;  ///< names the case's group in the results file
  std::int64_t n = 0;
  std::string sigma_law;
  double sigma = 1.0;
  std::vector<std::string> k_law;
  std::vector<std::int64_t> k_of_law;  ///< one per law
  std::vector<std::int64_t> k;         ///< distinct ones, ascending
  bool k_clipped = false;
  std::vector<double> threshold;  ///< --count-above at n
  double bytes_per_rank = 0.0;    ///< estimated peak
  double seconds = 0.0;           ///< rough estimate of all rows, on one core
};

struct PrecisionPlan {
  std::vector<PrecisionCase> cases;
};

/// Throws UsageError for a law that fails at some n, and for a case that does not fit into memory.
PrecisionPlan plan_precision(PrecisionConfig const& config, Machine const& machine);

/// The plan as a person reads it.
std::string describe(PrecisionPlan const& plan, PrecisionConfig const& config, Machine const& machine);

}  // namespace asymptop
