// What the draws of a case say of a quantity: rows of one draw share their keys, so draws are the replicates.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/core/counts.hpp"

namespace asymptop {

/// Mean over draws of per-draw means, and its standard error (NaN for one draw).
struct Estimate {
  double mean;
  double standard_error;
};

/// values: (draws, rows, width); the estimate for one column.
template <class T>
Estimate estimate(std::vector<T> const& values, std::size_t draws, std::size_t width, std::size_t column) {
  std::vector<double> means;
  std::size_t const rows = values.size() / draws / width;
  for (std::size_t d = 0; d < draws; ++d) {
    double sum = 0.0;
    for (std::size_t r = 0; r < rows; ++r) sum += static_cast<double>(values[(d * rows + r) * width + column]);
    means.push_back(sum / exact_double(rows));
  }
  double const count = exact_double(draws);
  double mean = 0.0, square = 0.0;
  for (auto const value : means) mean += value / count;
  for (auto const value : means) square += (value - mean) * (value - mean);
  return {mean, std::sqrt(square / (count - 1.0) / count)};
}

}  // namespace asymptop
