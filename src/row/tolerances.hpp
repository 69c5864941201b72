// What fp32 costs: how far a right answer may be from its fp64 reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/core/counts.hpp"

namespace asymptop {

/// Of a score, a dot product of length d, relative to ‖q‖‖k‖: the worst case of a chain of d additions. Where ‖q‖‖k‖ is below
/// smallest_product it is relative to that: terms below it are rounded to multiples of 2^-149.
inline constexpr double smallest_product = 0x1p-126;
inline double score_tolerance(std::int64_t d) { return std::ldexp(d + 2, -24); }

/// Of sums of fp32 exponentials, relative: 1e-5, plus what a logit's rounding does to its exponential. A logit of size L is off by some
/// 2^-24 L: few where the roundings of its d additions cancel at random, d/4 of them where all terms are alike and round one way (keys
/// and queries of +-1). Never over most_rounding: weights that are off by more are no result.
inline constexpr double most_rounding = 0x1p-10;
inline double sums_tolerance(std::int64_t d, double largest_logit) {
  return std::min(most_rounding, 1e-5 + std::ldexp((8.0 + exact_double(d) / 4.0) * largest_logit, -24));
}

/// Within this share of a softcap, at cap (1 - x), fp32 tells 1 / (x log(2 / x)), over 20, times fewer of the products apart that scores
/// are made of than without it.
inline constexpr double near_softcap = 0x1p-7;

}  // namespace asymptop
