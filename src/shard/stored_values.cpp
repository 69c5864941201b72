#include "shard/stored_values.hpp"

#include <cstdlib>
#include <filesystem>
#include <variant>
#include <vector>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "h5/h5.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

constexpr int most_sources_of_sources = 8;

std::string look(hid_t dataset, std::string const& path, int depth);

std::vector<hsize_t> shape_of(hid_t dataset) {
  h5::Handle const space(H5Dget_space(dataset), H5Sclose, "read a shape");
  std::vector<hsize_t> shape(std::max(H5Sget_simple_extent_ndims(space), 0));
  if (!shape.empty()) h5::check(H5Sget_simple_extent_dims(space, shape.data(), nullptr), "read a shape");
  return shape;
}

std::string missing_filters(hid_t properties) {
  for (int i = 0; i < H5Pget_nfilters(properties); ++i) {
    char name[128] = {};
    unsigned flags = 0;
    std::size_t values = 0;
    auto const id = H5Pget_filter2(properties, i, &flags, &values, nullptr, sizeof name, name, nullptr);
    if (id < 0 || H5Zfilter_avail(id) > 0) continue;
    return "that needs the HDF5 filter " + std::to_string(id) + (name[0] == 0 ? "" : " (" + std::string(name) + ")") +
           ", which this library does not have; h5repack, or h5py with hdf5plugin, writes it without";
  }
  return "";
}

/// Chunks that exist of those that the shape has.
std::string missing_chunks(hid_t dataset, hid_t properties) {
  auto const shape = shape_of(dataset);
  std::vector<hsize_t> chunk(shape.size());
  h5::check(H5Pget_chunk(properties, h5::rank_of(chunk), chunk.data()), "read the size of chunks");
  hsize_t all = 1, there = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) all *= (shape[i] + chunk[i] - 1) / chunk[i];
  h5::Handle const space(H5Dget_space(dataset), H5Sclose, "read a shape");
  h5::check(H5Dget_num_chunks(dataset, space, &there), "count chunks");
  if (there >= all) return "";
  return "of which " + std::to_string(all - there) + " of " + std::to_string(all) + " chunks were never written";
}

/// Raw data in files beside: what lies beyond their ends reads as zeros.
std::string missing_external(hid_t properties) {
  for (int i = 0; i < H5Pget_external_count(properties); ++i) {
    char name[4096] = {};
    off_t offset = 0;
    hsize_t size = 0;
    h5::check(H5Pget_external(properties, i, sizeof name - 1, name, &offset, &size), "read an external file's name");
    std::error_code error;
    auto const bytes = fs::file_size(name, error);
    if (error) return "whose values are in the external file " + std::string(name) + ", which cannot be read: " + error.message();
    if (size != H5F_UNLIMITED && bytes < offset + size)
      return "whose values are in the external file " + std::string(name) + ", which is too short";
  }
  return "";
}

/// Where HDF5 looks for a source that a virtual dataset names, in its order.
std::string found_source(std::string const& name, std::string const& path) {
  if (name == ".") return path;
  std::vector<fs::path> places;
  if (char const* prefix = std::getenv("HDF5_VDS_PREFIX"); prefix != nullptr && *prefix != 0) places.push_back(fs::path(prefix) / name);
  places.push_back(fs::path(path).parent_path() / name);
  places.push_back(fs::path(path).parent_path() / fs::path(name).filename());
  places.emplace_back(name);
  std::error_code ignored;
  for (auto const& place : places) {
    if (fs::is_regular_file(place, ignored)) return place.string();
  }
  return "";
}

std::string text_of(hid_t properties, std::size_t index, ssize_t (*get)(hid_t, std::size_t, char*, std::size_t)) {
  auto const length = get(properties, index, nullptr, 0);
  if (length < 0) throw RunError("HDF5: cannot read the sources of a virtual dataset");
  std::string text(length + 1, '\0');
  get(properties, index, text.data(), text.size());
  text.resize(length);
  return text;
}

std::string missing_sources(hid_t dataset, hid_t properties, std::string const& path, int depth) {
  if (depth >= most_sources_of_sources) return "that is virtual, with sources that are virtual, and so on";
  std::size_t count = 0;
  h5::check(H5Pget_virtual_count(properties, &count), "count the sources of a virtual dataset");
  hsize_t mapped = 0, all = 1;
  for (auto const length : shape_of(dataset)) all *= length;
  for (std::size_t i = 0; i < count; ++i) {
    auto const file = text_of(properties, i, H5Pget_virtual_filename), name = text_of(properties, i, H5Pget_virtual_dsetname);
    h5::Handle const space(H5Pget_virtual_vspace(properties, i), H5Sclose, "read the sources of a virtual dataset");
    auto const points = H5Sget_select_npoints(space);
    hsize_t const chosen = points;
    if (points < 0 || chosen == H5S_UNLIMITED || file.find("%b") != std::string::npos)
      return "that is virtual without fixed bounds; h5repack or h5py writes it whole";
    mapped += points;
    auto const source = found_source(file, path);
    if (source.empty()) return "that is virtual, and its source " + file + " is not there";
    auto const from = "that is virtual, from " + name + " of " + source + ", ";
    h5::Handle opened, inside;
    try {
      opened = h5::open_file(source, h5::Locking::shared);
      inside = h5::Handle(H5Dopen2(opened, name.c_str(), H5P_DEFAULT), H5Dclose, "open " + name);
    } catch (RunError const& error) {
      return from + "which cannot be read: " + error.what();
    }
    // A source that has become smaller leaves zeros too.
    h5::Handle const wanted(H5Pget_virtual_srcspace(properties, i), H5Sclose, "read the sources of a virtual dataset");
    std::vector<hsize_t> const shape = shape_of(inside);
    std::vector<hsize_t> low(shape.size()), high(shape.size());
    bool const bounded = H5Sget_simple_extent_ndims(wanted) == std::ssize(shape) && H5Sget_select_type(wanted) != H5S_SEL_ALL &&
                         H5Sget_select_bounds(wanted, low.data(), high.data()) >= 0;
    for (std::size_t axis = 0; bounded && axis < shape.size(); ++axis) {
      if (high[axis] >= shape[axis]) return from + "which is smaller than what is taken of it";
    }
    auto const why = look(inside, source, depth + 1);
    if (!why.empty()) return from + why;
  }
  return mapped < all ? "that is virtual, with sources for " + std::to_string(mapped) + " of its " + std::to_string(all) + " values" : "";
}

std::string look(hid_t dataset, std::string const& path, int depth) {
  h5::Handle const properties(H5Dget_create_plist(dataset), H5Pclose, "read how a dataset is stored");
  auto const layout = H5Pget_layout(properties);
  if (layout == H5D_VIRTUAL) return missing_sources(dataset, properties, path, depth);
  if (auto why = missing_filters(properties); !why.empty()) return why;
  if (layout == H5D_CHUNKED) return missing_chunks(dataset, properties);
  if (H5Pget_external_count(properties) > 0) return missing_external(properties);
  H5D_space_status_t status = H5D_SPACE_STATUS_ALLOCATED;
  h5::check(H5Dget_space_status(dataset, &status), "read how a dataset is stored");
  return status == H5D_SPACE_STATUS_ALLOCATED ? "" : "that was never written";
}

}  // namespace

std::string missing_values(hid_t dataset, std::string const& path) { return look(dataset, path, 0); }

std::string attribute_words(hid_t object, std::string const& name) {
  try {
    auto const value = h5::read_attribute(object, name);
    if (auto const* text = std::get_if<std::string>(&value)) return "'" + *text + "'";
    auto const number = std::visit([](auto const& of) { return shown(of); }, value);
    bool const looks_whole = number.find_first_not_of("-0123456789") == std::string::npos;
    return number + (looks_whole && std::holds_alternative<double>(value) ? ".0" : "");
  } catch (RunError const&) {
    return "neither one number nor a text";
  }
}

}  // namespace asymptop
