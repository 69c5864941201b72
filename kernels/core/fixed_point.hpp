// Numbers as integers, for sums that are exact in any order.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>

namespace asymptop {

/// What is in units of a fixed-point sum, cut off to an integer.
template <class Float>
KOKKOS_FORCEINLINE_FUNCTION std::int64_t to_integer(Float scaled) {
  return static_cast<std::int64_t>(scaled);
}

/// x * factor, to the nearest integer.
KOKKOS_FORCEINLINE_FUNCTION std::int64_t to_fixed(double x, double factor) {
  double const scaled = x * factor;
  return to_integer(scaled >= 0.0 ? scaled + 0.5 : scaled - 0.5);
}

/// What a sum of such integers stands for.
KOKKOS_FORCEINLINE_FUNCTION double from_fixed(std::int64_t sum, double factor) { return static_cast<double>(sum) / factor; }

/// The largest such integer that is at most the share, from 0 to 1, of a sum and of `more` in its units; 2^62 where that is larger.
inline std::int64_t share_of_sums(double share, std::int64_t sum, double more) {
  return to_integer(std::min(share * (from_fixed(sum, 1.0) + more), 0x1p62));
}

}  // namespace asymptop
