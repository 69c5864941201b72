// Median and interquartile range of timing samples.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/counts.hpp"

namespace asymptop {

struct SampleStatistics {
  double median;
  double iqr;  ///< third quartile minus first
};

/// The value at a fraction of the sorted samples, interpolated linearly between neighbours.
inline double quantile(std::vector<double> samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  int const last = int_size(samples) - 1;
  double const at = fraction * last;
  int const below = checked_int(at), above = std::min(below + 1, last);
  return samples[below] + (at - below) * (samples[above] - samples[below]);
}

/// samples: at least one.
inline SampleStatistics sample_statistics(std::vector<double> const& samples) {
  return {quantile(samples, 0.5), quantile(samples, 0.75) - quantile(samples, 0.25)};
}

}  // namespace asymptop
