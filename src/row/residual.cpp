#include "row/residual.hpp"

#include <algorithm>
#include <sstream>

#include "row/tolerances.hpp"

namespace asymptop {

std::string few_names(std::vector<std::string> const& names) {
  constexpr std::size_t most = 3;
  std::string list;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  return list + (names.size() > most ? " and " + std::to_string(names.size() - most) + " more" : "");
}

std::string over_tolerance(std::vector<Residual> const& residuals) {
  std::ostringstream text;
  text.precision(3);
  for (auto const& residual : residuals) {
    if (residual.worst <= residual.tolerance) continue;
    text << (text.tellp() > 0 ? "; " : "") << residual.name << " " << residual.worst << " over " << residual.tolerance;
    if (!residual.of.empty()) text << " (" << residual.of << ")";
  }
  return text.str();
}

std::string verdict_reason(std::vector<Residual> const& residuals) {
  auto const rounded = [](Residual const& r) { return !(r.worst <= r.tolerance) && r.tolerance == most_rounding; };
  return over_tolerance(residuals) +
         (std::any_of(residuals.begin(), residuals.end(), rounded)
              ? "; fp32 keeps too few digits of products this large: take from all keys what they share, or make Q and K, or sigma, smaller"
              : "");
}

}  // namespace asymptop
