// A stationary Gaussian AR(1) sequence as a tree, so that any row can be made alone.
//
// The sequence is a Markov chain: given x_{t-h} and x_{t+h}, x_t is normal and independent of all beyond them, with
//   mean rho^h / (1 + rho^2h) (x_{t-h} + x_{t+h})  and  variance (1 - rho^2h) / (1 + rho^2h).
// Rows whose numbers are multiples of 2^count are independent normals; |rho|^(2^count) < 2^-26, so what that neglects is below rounding.
// Each row between is made from the two that are 2^level before and after it, 2^level being its number's lowest bit, and from normals of
// its own: alone with `count` + 2 rows of normals, within a block with one.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <cstdint>

#include "../core/math.hpp"
#include "philox_normal.hpp"

namespace asymptop {

struct Ar1Levels {
  static constexpr int most = 26;  ///< enough for |rho| up to `largest_rho`
  static constexpr double largest_rho = 0.999999;
  int count = 0;
  float mean[most] = {}, innovation[most] = {};

  Ar1Levels() = default;
  explicit Ar1Levels(double rho) {
    double const log_rho = std::log(std::fabs(rho));  // -inf for 0: no levels
    for (double h = 1.0; count < most && h * log_rho > -26.0 * std::log(2.0); h *= 2.0, ++count) {
      double const square = std::exp(2.0 * h * log_rho), power = std::exp(h * log_rho) * (h == 1.0 && rho < 0.0 ? -1.0 : 1.0);
      mean[count] = to_fp32(power / (1.0 + square));
      innovation[count] = to_fp32(std::sqrt(-std::expm1(2.0 * h * log_rho) / (1.0 + square)));
    }
  }

  KOKKOS_FORCEINLINE_FUNCTION float between(int level, float before, float after, float normal) const {
    return multiply_add(innovation[level], normal, mean[level] * (before + after));
  }
};

/// Four columns of a row, as normal_quad's.
KOKKOS_INLINE_FUNCTION void ar1_quad(Stream stream, Ar1Levels const& levels, std::uint64_t row, std::uint32_t group, float (&x)[4]) {
  int level = levels.count;
  std::uint64_t before = row >> level << level;
  normal_quad(stream, before, group, x[0], x[1], x[2], x[3]);
  if (before == row) return;
  float after[4], normal[4];
  normal_quad(stream, before + (std::uint64_t{1} << level), group, after[0], after[1], after[2], after[3]);
  while (true) {
    --level;
    auto const middle = before + (std::uint64_t{1} << level);
    normal_quad(stream, middle, group, normal[0], normal[1], normal[2], normal[3]);
    for (int q = 0; q < 4; ++q) normal[q] = levels.between(level, x[q], after[q], normal[q]);
    for (int q = 0; q < 4; ++q) (row < middle ? after : x)[q] = normal[q];
    if (row == middle) return;
    if (row > middle) before = middle;
  }
}

}  // namespace asymptop
