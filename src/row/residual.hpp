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
  std::string of{};  ///< where the name does not say it: the quantities that are wrong
};

/// Names for a Residual's `of`: the first few and how many more.
std::string few_names(std::vector<std::string> const& names);

/// Which residuals are over their tolerances; empty when none is.
std::string over_tolerance(std::vector<Residual> const& residuals);

/// The same, with what to do where sums_tolerance() ends.
std::string verdict_reason(std::vector<Residual> const& residuals);

}  // namespace asymptop
