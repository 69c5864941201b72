#include "row/residual.hpp"

#include <sstream>

namespace asymptop {

std::string verdict_reason(std::vector<Residual> const& residuals) {
  std::ostringstream reason;
  reason.precision(3);
  for (auto const& residual : residuals) {
    if (residual.worst <= residual.tolerance) continue;
    reason << (reason.tellp() > 0 ? "; " : "") << residual.name << " " << residual.worst << " over " << residual.tolerance;
  }
  return reason.str();
}

}  // namespace asymptop
