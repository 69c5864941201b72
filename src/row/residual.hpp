// Verdict of a result that is checked by residuals.
#pragma once

#include <string>
#include <vector>

namespace asymptop {

/// One way a result can be wrong: the worst residual found, and what rounding allows.
struct Residual {
  std::string name;
  double worst;
  double tolerance;
};

/// Empty when all residuals are within their tolerances; with what to do where sums_tolerance() ends.
std::string verdict_reason(std::vector<Residual> const& residuals);

}  // namespace asymptop
