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
  std::string of{};          ///< where the name does not say it: the quantities that are wrong
  bool of_products = false;  ///< over its tolerance where products of queries and keys have too few digits
  std::string advice{};      ///< what to do where it is over its tolerance, if that is its own
};

/// Whose products fp32 may keep too few digits of: what can be done about it depends on it.
enum class Products { of_any, made, of_file, under_softcap, none };

/// Names for a Residual's `of`: the first few and how many more.
std::string few_names(std::vector<std::string> const& names);

/// Which residuals are over their tolerances, what to do about those that have an advice, and where fp32 has too few digits of products:
/// where sums_tolerance() ends, or a residual of products is over its own. Empty when none is. largest_logit: of the products, for the
/// advice; 0: not known.
std::string verdict_reason(std::vector<Residual> const& residuals, Products products = Products::of_any, double largest_logit = 0.0);

}  // namespace asymptop
