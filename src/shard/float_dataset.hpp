// Datasets of floats in a tensor file, whatever their number of axes.
#pragma once

#include <string>
#include <vector>

#include "h5/h5.hpp"

namespace asymptop {

/// Open for reading; MATLAB's axes, which lie in the file from last to first, are turned.
struct FloatDataset {
  std::string name, path;
  h5::Handle handle{};
  std::vector<hsize_t> shape{};
  bool reversed = false;

  /// A block as fp32, row-major: (count[0], count[1], ...).
  void read(std::vector<hsize_t> start, std::vector<hsize_t> count, float* out) const;
  /// All of a dataset of one axis, as stored.
  std::vector<double> numbers() const;
};

/// `(3, 4096, 64)`.
std::string shape_text(std::vector<hsize_t> const& shape);

/// Throws UsageError naming the dataset when there is none (`needs` says what for), or it is not of float32 or float64.
FloatDataset open_floats(hid_t file, std::string const& path, std::string const& name, std::string const& needs);

/// Position of the first of `count` values that is not finite, or -1.
std::ptrdiff_t first_bad(float const* values, std::size_t count);

}  // namespace asymptop
