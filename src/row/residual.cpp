#include "row/residual.hpp"

#include <algorithm>
#include <cmath>

#include "config/number_text.hpp"
#include "row/tolerances.hpp"

namespace asymptop {

std::string few_names(std::vector<std::string> const& names) {
  constexpr std::size_t most = 3;
  std::string list;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  return list + (names.size() > most ? " and " + std::to_string(names.size() - most) + " more" : "");
}

namespace {

bool is_over(Residual const& residual) { return !(residual.worst <= residual.tolerance); }

/// Which residuals are over their tolerances. Many are counts.
std::string over_tolerance(std::vector<Residual> const& residuals) {
  std::string text;
  for (auto const& residual : residuals) {
    if (!is_over(residual)) continue;
    text += (text.empty() ? "" : "; ") + residual.name + " " + count_or(residual.worst, 3) + " over " + count_or(residual.tolerance, 3);
    if (!residual.of.empty()) text += " (" + residual.of + ")";
  }
  return text;
}

std::string way_out(Products products) {
  std::string const shared = "take from all keys the vector that they share, if they do, or make ";
  switch (products) {
    case Products::made:
      return "make sigma smaller";
    case Products::of_file:
      return shared + "Q or K smaller";
    case Products::under_softcap:
      return "under a softcap no vector that all keys share can be taken from them";
    default:
      return shared + "Q or K, or sigma, smaller";
  }
}

}  // namespace

std::string verdict_reason(std::vector<Residual> const& residuals, Products products, double largest_logit) {
  auto reason = over_tolerance(residuals);
  bool rounded = false;
  for (auto const& residual : residuals) {
    if (!is_over(residual)) continue;
    if (!residual.advice.empty()) {
      reason += "; " + residual.advice;
    } else {
      rounded = rounded || (std::isfinite(residual.worst) && (residual.of_products || residual.tolerance == most_rounding));
    }
  }
  if (!rounded || products == Products::none) return reason;
  auto const how_large = largest_logit > 0.0 ? " (logits up to " + count_or(largest_logit, 3) + ")" : "";
  return reason + "; fp32 keeps too few digits of these products of Q and K" + how_large + ": " + way_out(products);
}

}  // namespace asymptop
