#include "shard/float_dataset.hpp"

#include <algorithm>
#include <cmath>

#include "config/errors.hpp"

namespace asymptop {

std::string shape_text(std::vector<hsize_t> const& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

FloatDataset open_floats(hid_t file, std::string const& path, std::string const& name, std::string const& needs) {
  if (!h5::has_link(file, name)) throw UsageError("--input", path, "has no dataset " + name + "; " + needs);
  FloatDataset result{name, path};
  try {
    result.handle = h5::Handle(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, "open " + name);
  } catch (RunError const& error) {
    throw UsageError("--input", path, "has a " + name + " that is not a readable dataset. " + error.what());
  }
  hid_t const id = result.handle;
  h5::Handle const type(H5Dget_type(id), H5Tclose, "read the type of " + name);
  auto const size = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_FLOAT || (size != 4 && size != 8))
    throw UsageError(
        "--input", path,
        "has a dataset " + name + " that is neither float32 nor float64; python3 -m asymptop convert widens float16, bfloat16 and float8");
  h5::Handle const space(H5Dget_space(id), H5Sclose, "read the shape of " + name);
  int const rank = H5Sget_simple_extent_ndims(space);
  result.shape.resize(std::max(rank, 0));
  if (rank > 0) h5::check(H5Sget_simple_extent_dims(space, result.shape.data(), nullptr), "read the shape of " + name);
  // MATLAB writes its axes in reverse order, and says of each dataset that it did.
  result.reversed = h5::has_attribute(id, "MATLAB_class");
  if (result.reversed) std::reverse(result.shape.begin(), result.shape.end());
  return result;
}

void FloatDataset::read(std::vector<hsize_t> start, std::vector<hsize_t> count, float* out) const {
  hsize_t size = 1;
  for (auto const length : count) size *= length;
  if (size == 0) return;
  auto const block = count;
  if (reversed) {
    std::reverse(start.begin(), start.end());
    std::reverse(count.begin(), count.end());
  }
  h5::Handle const space(H5Dget_space(handle), H5Sclose, "read the shape of " + name);
  h5::check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), "select rows of " + name);
  std::vector<float> turned(reversed ? size : 0);
  // Of the file's rank: into a line of as many numbers HDF5 1.10 goes element by element, and takes three times as long.
  h5::Handle const memory(H5Screate_simple(int_size(count), count.data(), nullptr), H5Sclose, "make a memory space");
  h5::check(H5Dread(handle, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, reversed ? turned.data() : out), "read " + name + " of " + path);
  // The first axis is the one that lies closest together.
  std::vector<hsize_t> at(block.size(), 0);
  for (auto const value : turned) {
    hsize_t place = 0;
    for (std::size_t axis = 0; axis < block.size(); ++axis) place = place * block[axis] + at[axis];
    out[place] = value;
    for (std::size_t axis = 0; axis < block.size() && ++at[axis] == block[axis]; ++axis) at[axis] = 0;
  }
}

std::vector<double> FloatDataset::numbers() const {
  std::vector<double> values(shape.at(0));
  h5::check(H5Dread(handle, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "read " + name + " of " + path);
  return values;
}

std::ptrdiff_t first_bad(float const* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) return i;
  }
  return -1;
}

}  // namespace asymptop
