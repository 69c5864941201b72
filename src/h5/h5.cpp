#include "h5/h5.hpp"

#include <hdf5_hl.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "config/errors.hpp"

namespace asymptop::h5 {
namespace {

/// Chunks near 1 MiB: large enough to compress, small enough to read one draw.
struct StorageTuning {
  std::size_t compress_from = 4096;  ///< elements
  std::size_t chunk_elements = 1u << 17;
  unsigned deflate_level = 4;
};
constexpr StorageTuning tuning;

Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make a text type");
  check(H5Tset_size(type, H5T_VARIABLE), "size a text type");
  check(H5Tset_cset(type, H5T_CSET_UTF8), "set a text type's encoding");
  return type;
}

Handle scalar_space() { return {H5Screate(H5S_SCALAR), H5Sclose, "make a scalar space"}; }

void write_attribute_raw(hid_t object, std::string const& name, hid_t type, void const* data) {
  auto const space = scalar_space();
  Handle attribute(H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, "create attribute " + name);
  check(H5Awrite(attribute, type, data), "write attribute " + name);
  attribute.close("write attribute " + name);
}

Handle open_attribute(hid_t object, std::string const& name) {
  return {H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, "open attribute " + name};
}

/// What the system said, as HDF5 keeps it on its stack of errors: `: No space left on device`; where the error is HDF5's own, the innermost
/// of its words: `: bad superblock version number`.
std::string cause() {
  std::string text, own;
  auto const visit = [](unsigned, H5E_error2_t const* error, void* data) -> herr_t {
    std::string const said(error->desc == nullptr ? "" : error->desc), mark = "error message = '";
    auto const begin = said.find(mark);
    if (begin == std::string::npos) return 0;
    auto const from = begin + mark.size();
    *static_cast<std::string*>(data) = ": " + said.substr(from, said.find('\'', from) - from);
    return 1;
  };
  auto const innermost = [](unsigned, H5E_error2_t const* error, void* data) -> herr_t {
    *static_cast<std::string*>(data) = error->desc == nullptr || *error->desc == 0 ? "" : ": " + std::string(error->desc);
    return 1;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &text);
  if (text.empty()) H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &own);
  return text.empty() ? own : text;
}

/// Reading an array into one number would run over its end.
void check_scalar_number(hid_t object, std::string const& name, bool whole) {
  auto const attribute = open_attribute(object, name);
  Handle const space(H5Aget_space(attribute), H5Sclose, "read the shape of attribute " + name);
  Handle const type(H5Aget_type(attribute), H5Tclose, "read the type of attribute " + name);
  auto const kind = H5Tget_class(type);
  if (H5Sget_simple_extent_npoints(space) != 1 || ((kind != H5T_FLOAT || whole) && kind != H5T_INTEGER))
    throw RunError("HDF5: attribute " + name + " is not one " + (whole ? "integer" : "number"));
}

Handle creation_properties(std::vector<hsize_t> const& shape) {
  Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make dataset properties");
  // Times in object headers would make equal results differ in bytes.
  check(H5Pset_obj_track_times(properties, 0), "switch object times off");
  std::size_t elements = 1;
  for (auto const length : shape) elements *= length;
  if (elements >= tuning.compress_from) {
    auto chunk = shape;
    for (auto& length : chunk) {
      if (elements <= tuning.chunk_elements) break;
      auto const others = elements / length;
      auto const wanted = std::max<std::size_t>(1, tuning.chunk_elements / others);
      length = std::min<hsize_t>(length, wanted);
      elements = others * length;
    }
    check(H5Pset_chunk(properties, rank_of(chunk), chunk.data()), "set chunks");
    check(H5Pset_shuffle(properties), "set shuffle");
    check(H5Pset_deflate(properties, tuning.deflate_level), "set deflate");
    check(H5Pset_fletcher32(properties), "set check sums");
  }
  return properties;
}

/// For transfers of texts, which libhdf5 converts in two buffers of 1 MiB that it zeroes each time, unless told of less.
Handle transfer_of(hid_t type, std::size_t elements) {
  Handle transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose, "create transfer properties");
  constexpr std::size_t bytes_per_text = 64, least = std::size_t{1} << 12, usual = std::size_t{1} << 20;
  if (H5Tis_variable_str(type) > 0)
    check(H5Pset_buffer(transfer, std::clamp(bytes_per_text * elements, least, usual), nullptr, nullptr), "set conversion buffers");
  return transfer;
}

Handle create_dataset(hid_t group, std::string const& name, hid_t type, std::vector<hsize_t> const& shape, void const* data) {
  Handle space(H5Screate_simple(rank_of(shape), shape.data(), nullptr), H5Sclose, "make a space for " + name);
  auto const properties = creation_properties(shape);
  Handle dataset(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT), H5Dclose, "create dataset " + name);
  if (data != nullptr) {
    auto const elements = std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
    check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, transfer_of(type, elements), data), "write dataset " + name);
  }
  return dataset;
}

/// The last of a dataset. Chunks are written only when it is closed: what fails then leaves zeros in their place.
void describe(Handle dataset, std::string const& name, std::string const& units, std::string const& long_name) {
  write_attribute(dataset, "units", units);
  write_attribute(dataset, "long_name", long_name);
  dataset.close("write dataset " + name);
}

template <class T>
void write_scale_of(hid_t group, std::string const& name, hid_t type, std::vector<T> const& values, std::string const& units,
                    std::string const& long_name) {
  auto dataset = create_dataset(group, name, type, {values.size()}, values.data());
  check(H5DSset_scale(dataset, name.c_str()), "make scale " + name);
  describe(std::move(dataset), name, units, long_name);
}

template <class T>
void write_dataset_of(hid_t group, std::string const& name, hid_t type, std::vector<Dimension> const& dimensions,
                      std::vector<T> const& values, std::string const& units, std::string const& long_name) {
  std::vector<hsize_t> shape;
  std::size_t elements = 1;
  for (auto const& dimension : dimensions) {
    shape.push_back(dimension.length);
    elements *= dimension.length;
  }
  if (elements != values.size())
    throw RunError("HDF5: dataset " + name + " has " + std::to_string(values.size()) + " values for a shape of " +
                   std::to_string(elements));
  auto dataset = create_dataset(group, name, type, shape, values.data());
  for (unsigned i = 0; i < dimensions.size(); ++i) {
    Handle const scale(H5Dopen2(group, dimensions[i].scale.c_str(), H5P_DEFAULT), H5Dclose, "open scale " + dimensions[i].scale);
    check(H5DSattach_scale(dataset, scale, i), "attach scale " + dimensions[i].scale);
  }
  describe(std::move(dataset), name, units, long_name);
}

}  // namespace

Handle::Handle(hid_t id, Close close, std::string const& action) : id_(id), close_(close) {
  if (id < 0) throw RunError("HDF5: cannot " + action + cause());
}

void Handle::reset() noexcept {
  if (id_ >= 0) close_(std::exchange(id_, -1));
}

void Handle::close(std::string const& action) {
  if (id_ >= 0) check(close_(std::exchange(id_, -1)), action);
}

void check(herr_t status, std::string const& action) {
  if (status < 0) throw RunError("HDF5: cannot " + action + cause());
}

void silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

Handle open_group(hid_t parent, std::string const& name) {
  return {H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose, "open group " + name};
}

Handle create_group(hid_t parent, std::string const& name) {
  return {H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, "create group " + name};
}

std::vector<std::string> group_members(hid_t group) {
  std::vector<std::string> names;
  auto const visit = [](hid_t, char const* name, H5L_info_t const*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  check(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, &names), "list a group");
  return names;
}

bool has_link(hid_t parent, std::string const& name) { return H5Lexists(parent, name.c_str(), H5P_DEFAULT) > 0; }

void write_attribute(hid_t object, std::string const& name, std::string const& value) {
  char const* text = value.c_str();
  write_attribute_raw(object, name, text_type(), &text);
}
void write_attribute(hid_t object, std::string const& name, std::int64_t value) {
  write_attribute_raw(object, name, H5T_NATIVE_INT64, &value);
}
void write_attribute(hid_t object, std::string const& name, double value) { write_attribute_raw(object, name, H5T_NATIVE_DOUBLE, &value); }

std::string read_text_attribute(hid_t object, std::string const& name) {
  auto const attribute = open_attribute(object, name);
  Handle const type(H5Aget_type(attribute), H5Tclose, "read the type of attribute " + name);
  if (H5Tget_class(type) != H5T_STRING) throw RunError("HDF5: attribute " + name + " is not text");
  Handle const space(H5Aget_space(attribute), H5Sclose, "read the shape of attribute " + name);
  if (H5Sget_simple_extent_npoints(space) != 1) throw RunError("HDF5: attribute " + name + " is not one text");
  if (H5Tis_variable_str(type) <= 0) {        // of a fixed length, which a shorter text fills up with zeros or spaces
    constexpr std::size_t longest = 1 << 16;  // as attributes are stored by default; a broken file may say anything
    if (H5Tget_size(type) > longest) throw RunError("HDF5: attribute " + name + " is longer than " + std::to_string(longest));
    std::string fixed(H5Tget_size(type), '\0');
    check(H5Aread(attribute, type, fixed.data()), "read attribute " + name);
    fixed.resize(std::min(fixed.find('\0'), fixed.size()));
    fixed.resize(fixed.find_last_not_of(' ') + 1);
    return fixed;
  }
  char* text = nullptr;
  check(H5Aread(attribute, text_type(), &text), "read attribute " + name);
  std::string value(text == nullptr ? "" : text);
  H5free_memory(text);
  return value;
}

std::int64_t read_int_attribute(hid_t object, std::string const& name) {
  std::int64_t value = 0;
  check_scalar_number(object, name, true);
  check(H5Aread(open_attribute(object, name), H5T_NATIVE_INT64, &value), "read attribute " + name);
  return value;
}

double read_double_attribute(hid_t object, std::string const& name) {
  double value = 0.0;
  check_scalar_number(object, name, false);
  check(H5Aread(open_attribute(object, name), H5T_NATIVE_DOUBLE, &value), "read attribute " + name);
  return value;
}

bool has_attribute(hid_t object, std::string const& name) { return H5Aexists(object, name.c_str()) > 0; }

void write_scale(hid_t group, std::string const& name, std::vector<double> const& values, std::string const& units,
                 std::string const& long_name) {
  write_scale_of(group, name, H5T_NATIVE_DOUBLE, values, units, long_name);
}
void write_scale(hid_t group, std::string const& name, std::vector<std::int64_t> const& values, std::string const& units,
                 std::string const& long_name) {
  write_scale_of(group, name, H5T_NATIVE_INT64, values, units, long_name);
}
void write_scale(hid_t group, std::string const& name, std::vector<std::string> const& values, std::string const& long_name) {
  std::vector<char const*> texts;
  for (auto const& value : values) texts.push_back(value.c_str());
  write_scale_of(group, name, text_type(), texts, "1", long_name);
}
void write_dataset(hid_t group, std::string const& name, std::vector<Dimension> const& dimensions, std::vector<double> const& values,
                   std::string const& units, std::string const& long_name) {
  write_dataset_of(group, name, H5T_NATIVE_DOUBLE, dimensions, values, units, long_name);
}
void write_dataset(hid_t group, std::string const& name, std::vector<Dimension> const& dimensions, std::vector<std::int64_t> const& values,
                   std::string const& units, std::string const& long_name) {
  write_dataset_of(group, name, H5T_NATIVE_INT64, dimensions, values, units, long_name);
}

std::vector<std::string> attribute_names(hid_t object) {
  std::vector<std::string> names;
  auto const visit = [](hid_t, char const* name, H5A_info_t const*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  hsize_t index = 0;
  check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &index, visit, &names), "list attributes");
  return names;
}

AnyAttribute read_attribute(hid_t object, std::string const& name) {
  auto const attribute = open_attribute(object, name);
  Handle const type(H5Aget_type(attribute), H5Tclose, "read the type of attribute " + name);
  switch (H5Tget_class(type)) {
    case H5T_STRING:
      return read_text_attribute(object, name);
    case H5T_INTEGER:
      return read_int_attribute(object, name);
    case H5T_FLOAT:
      return read_double_attribute(object, name);
    default:
      throw RunError("HDF5: attribute " + name + " is neither number nor text");
  }
}

namespace {

/// Elements of a shape that is read from a file: refused where the file cannot hold them, before memory is asked for.
std::size_t element_count(hid_t dataset, std::vector<hsize_t> const& shape, std::string const& name) {
  Handle const file(H5Iget_file_id(dataset), H5Fclose, "find the file of " + name);
  hsize_t bytes = 0;
  check(H5Fget_filesize(file, &bytes), "read the size of the file of " + name);
  // Compression makes a byte of at most some 1030, and all that is read takes 8 bytes in memory or a pointer.
  hsize_t const most = bytes * 1030;
  hsize_t elements = 1;
  for (auto const length : shape) {
    if (length != 0 && elements > most / length) throw RunError("HDF5: dataset " + name + " claims more elements than its file can hold");
    elements *= length;
  }
  return elements;
}

}  // namespace

AnyData read_dataset(hid_t group, std::string const& name) {
  Handle const dataset(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, "open dataset " + name);
  Handle const space(H5Dget_space(dataset), H5Sclose, "read the shape of " + name);
  Handle const type(H5Dget_type(dataset), H5Tclose, "read the type of " + name);
  AnyData data;
  data.shape.resize(std::max(0, H5Sget_simple_extent_ndims(space)));
  check(H5Sget_simple_extent_dims(space, data.shape.data(), nullptr), "read the shape of " + name);
  auto const elements = element_count(dataset, data.shape, name);
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      data.numbers.resize(elements);
      check(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.numbers.data()), "read dataset " + name);
      break;
    case H5T_INTEGER:
      data.integers.resize(elements);
      check(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.integers.data()), "read dataset " + name);
      break;
    case H5T_STRING: {
      std::vector<char*> texts(elements, nullptr);
      auto const memory = text_type();
      check(H5Dread(dataset, memory, H5S_ALL, H5S_ALL, transfer_of(memory, texts.size()), texts.data()), "read dataset " + name);
      for (auto* text : texts) {
        data.texts.emplace_back(text == nullptr ? "" : text);
        H5free_memory(text);
      }
      break;
    }
    default:
      throw RunError("HDF5: dataset " + name + " is neither number nor text");
  }
  return data;
}

}  // namespace asymptop::h5
