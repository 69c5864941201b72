// Sums over rows that are spread over ranks: the same bits however they are spread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/core/fixed_point.hpp"

namespace asymptop {

/// A power of two such that `count` numbers of at most `bound` stay below 2^61 when they are multiplied by it and added up.
inline double fixed_point_scale(double bound, std::int64_t count) {
  if (!(bound > 0.0)) return 1.0;
  int exponent = 0;
  std::frexp(bound * exact_double(count), &exponent);  // bound * count < 2^exponent
  return std::ldexp(1.0, std::min(61 - exponent, 1000));
}

/// Sums of columns of `values` (any number of rows, width) over all ranks, which hold `count` rows together. Collective. Each column is
/// scaled by its largest member and added up in integers: a member that is 2^-61 * count of that or less is lost. NaN where some
/// member is not finite.
inline std::vector<double> exact_sums(Communicator const& comm, std::vector<double> const& values, std::size_t width, std::int64_t count) {
  std::vector<double> largest(width, 0.0);
  for (std::size_t first = 0; first < values.size(); first += width) {
    for (std::size_t c = 0; c < width; ++c) {
      double const value = values[first + c], size = std::isfinite(value) ? std::fabs(value) : INFINITY;
      largest[c] = std::max(largest[c], size);
    }
  }
  comm.max(largest);
  std::vector<double> scale(width);
  for (std::size_t c = 0; c < width; ++c) scale[c] = std::isfinite(largest[c]) ? fixed_point_scale(largest[c], count) : 0.0;
  std::vector<std::int64_t> sums(width, 0);
  for (std::size_t first = 0; first < values.size(); first += width) {
    for (std::size_t c = 0; c < width; ++c) {
      if (scale[c] > 0.0) sums[c] += std::llround(values[first + c] * scale[c]);
    }
  }
  comm.sum(sums);
  std::vector<double> result;
  for (std::size_t c = 0; c < width; ++c) result.push_back(scale[c] > 0.0 ? from_fixed(sums[c], scale[c]) : NAN);
  return result;
}

}  // namespace asymptop
