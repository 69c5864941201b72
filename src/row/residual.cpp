#include "row/residual.hpp"

#include <sstream>

#include "row/tolerances.hpp"

namespace asymptop {

std::string verdict_reason(std::vector<Residual> const& residuals) {
  std::ostringstream reason;
  reason.precision(3);
  bool rounded = false;
  for (auto const& residual : residuals) {
    if (residual.worst <= residual.tolerance) continue;
    reason << (reason.tellp() > 0 ? "; " : "") << residual.name << " " << residual.worst << " over " << residual.tolerance;
    rounded = rounded || residual.tolerance == most_rounding;
  }
  if (rounded)
    reason << "; fp32 keeps too few digits of products this large: take from all keys what they share, or make Q and K, or sigma, smaller";
  return reason.str();
}

}  // namespace asymptop
