// Median and interquartile range of timing samples.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace asymptop {

struct SampleStatistics {
  double median;
  double iqr;  ///< third quartile minus first
};

/// The value at a fraction of the sorted samples, interpolated linearly between neighbours.
inline double quantile(std::vector<double> samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  double const at = fraction * static_cast<double>(samples.size() - 1);
  auto const below = static_cast<std::size_t>(at), above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (at - static_cast<double>(below)) * (samples[above] - samples[below]);
}

/// samples: at least one.
inline SampleStatistics sample_statistics(std::vector<double> const& samples) {
  return {quantile(samples, 0.5), quantile(samples, 0.75) - quantile(samples, 0.25)};
}

}  // namespace asymptop
