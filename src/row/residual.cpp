#include "row/residual.hpp"

#include <algorithm>
#include <sstream>

namespace asymptop {

std::string few_names(std::vector<std::string> const& names) {
  constexpr std::size_t most = 3;
  std::string list;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  return list + (names.size() > most ? " and " + std::to_string(names.size() - most) + " more" : "");
}

std::string verdict_reason(std::vector<Residual> const& residuals) {
  std::ostringstream reason;
  reason.precision(3);
  for (auto const& residual : residuals) {
    if (residual.worst <= residual.tolerance) continue;
    reason << (reason.tellp() > 0 ? "; " : "") << residual.name << " " << residual.worst << " over " << residual.tolerance;
    if (!residual.of.empty()) reason << " (" << residual.of << ")";
  }
  return reason.str();
}

}  // namespace asymptop
