#include "h5/copy.hpp"

#include <hdf5_hl.h>

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "h5/h5.hpp"

namespace asymptop::h5 {
namespace {

#if H5_VERSION_GE(1, 12, 0)
using Place = H5O_token_t;
#else
using Place = haddr_t;
#endif

/// Where an object lies in its file: the same for all identifiers of it. Nothing where HDF5 cannot say.
std::optional<Place> place_of(hid_t object) {
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info;
  return H5Oget_info3(object, &info, H5O_INFO_BASIC) < 0 ? std::nullopt : std::optional(info.token);
#else
  H5O_info_t info;
  return H5Oget_info(object, &info) < 0 ? std::nullopt : std::optional(info.addr);
#endif
}

/// Scales of a group by place. HDF5 itself finds a scale's name by looking through the whole file.
using ScaleNames = std::vector<std::pair<Place, std::string>>;

/// Names of a dataset's dimension scales, in order; all are of its own group.
std::vector<std::string> scale_names(hid_t dataset, std::size_t dimensions, ScaleNames const& scales) {
  struct Found {
    ScaleNames const& scales;
    std::vector<std::string> names;
  } found{scales, {}};
  auto const visit = [](hid_t, unsigned, hid_t scale, void* data) -> herr_t {
    auto& into = *static_cast<Found*>(data);
    auto const place = place_of(scale);
    for (auto const& [other, name] : into.scales) {
      if (!place || std::memcmp(&*place, &other, sizeof other) != 0) continue;
      into.names.push_back(name);
      return 1;
    }
    return -1;
  };
  for (unsigned i = 0; i < dimensions; ++i) check(H5DSiterate_scales(dataset, i, nullptr, visit, &found), "read dimension scales");
  return found.names;
}

}  // namespace

void copy_attributes(hid_t from, hid_t to) {
  for (auto const& name : attribute_names(from)) {
    std::visit([&](auto const& value) { write_attribute(to, name, value); }, read_attribute(from, name));
  }
}

void copy_datasets(hid_t from, hid_t to) {
  // Scales first: datasets are attached to them. Written anew rather than by H5Ocopy, which leaves references to scales behind
  // and (1.10) crashes on text attributes in dense storage.
  ScaleNames places;
  for (bool const scales : {true, false}) {
    for (auto const& name : group_members(from)) {
      Handle const dataset(H5Dopen2(from, name.c_str(), H5P_DEFAULT), H5Dclose, "open dataset " + name);
      if ((H5DSis_scale(dataset) > 0) != scales) continue;
      auto const data = read_dataset(from, name);
      auto const units = read_text_attribute(dataset, "units"), long_name = read_text_attribute(dataset, "long_name");
      if (scales) {
        if (auto const place = place_of(dataset)) places.emplace_back(*place, name);
        if (!data.texts.empty()) write_scale(to, name, data.texts, long_name);
        if (!data.integers.empty()) write_scale(to, name, data.integers, units, long_name);
        if (!data.numbers.empty()) write_scale(to, name, data.numbers, units, long_name);
        continue;
      }
      auto const names = scale_names(dataset, data.shape.size(), places);
      std::vector<Dimension> dimensions;
      for (std::size_t i = 0; i < names.size(); ++i) dimensions.push_back({names[i], data.shape[i]});
      if (!data.integers.empty()) write_dataset(to, name, dimensions, data.integers, units, long_name);
      if (!data.numbers.empty()) write_dataset(to, name, dimensions, data.numbers, units, long_name);
    }
  }
}

}  // namespace asymptop::h5
