#include "shard/tensor_file.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "config/errors.hpp"
#include "h5/trial.hpp"
#include "shard/stored_values.hpp"

namespace asymptop {
namespace {

/// The number N of a name `layerN`, written as it is printed; -1 for any other name.
std::int64_t number_after(std::string const& prefix, std::string const& name) {
  if (!name.starts_with(prefix)) return -1;
  auto const digits = name.substr(prefix.size());
  if (digits.empty() || digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  auto const number = std::strtoll(digits.c_str(), nullptr, 10);
  return std::to_string(number) == digits ? number : -1;
}

std::vector<std::int64_t> numbers_after(std::string const& prefix, hid_t group) {
  std::vector<std::int64_t> numbers;
  for (auto const& name : h5::group_members(group)) {
    if (auto const number = number_after(prefix, name); number >= 0) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

TensorFile::TensorFile(std::string const& path) : path_(path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) fail("is not a file");
  auto const is_hdf5 = H5Fis_hdf5(path.c_str());
  if (is_hdf5 == 0) fail("is not an HDF5 file; python3 -m asymptop convert makes one");
  try {
    file_ = h5::open_file(path, h5::Locking::shared);
  } catch (RunError const& error) {
    fail(std::string("does not open. ") + error.what());
  }
  if (!h5::has_attribute(file_, "tensor_format")) {
    layers_.emplace_back().push_back(std::make_unique<TensorLayer>(file_, path_, "", -1));
    return;
  }
  std::int64_t format = 0;
  try {
    format = h5::read_int_attribute(file_, "tensor_format");
  } catch (RunError const&) {
    fail("has a root attribute tensor_format, that is " + attribute_words(file_, "tensor_format") + ", not one integer");
  }
  if (format != 2) fail("is of tensor_format " + std::to_string(format) + "; this version reads 2, and files without that attribute");
  open_texts();
}

void TensorFile::fail(std::string const& why) const { throw UsageError("--input", path_, why); }

std::string TensorFile::name_in(hid_t object, std::string const& attribute, std::string const& where) const {
  try {
    return h5::has_attribute(object, attribute) ? h5::read_text_attribute(object, attribute) : "";
  } catch (RunError const&) {
    fail("has an attribute of " + where + ", " + attribute + ", that is " + attribute_words(object, attribute) + ", not a text");
  }
}

void TensorFile::check_counts(hid_t text, std::string const& name, std::int64_t n) const {
  for (auto const* attribute : {"tokens", "start"}) {
    if (!h5::has_attribute(text, attribute)) continue;
    std::int64_t value = -1;
    try {
      value = h5::read_int_attribute(text, attribute);
    } catch (RunError const&) {
    }
    auto const of = "has an attribute of " + name + ", " + attribute + ", that is ";
    if (value < 0) fail(of + attribute_words(text, attribute) + ", not an integer from 0 on");
    if (attribute == std::string("tokens") && value != n) fail(of + std::to_string(value) + "; its layers have n = " + std::to_string(n));
  }
}

void TensorFile::open_texts() {
  model_ = name_in(file_, "model", "/");
  name_in(file_, "source_dtype", "/");
  auto const texts = numbers_after("text", file_);
  if (texts.empty()) fail("has no group text0; a file of tensor_format 2 has text0, text1, ...");
  for (std::int64_t t = 0; t < std::ssize(texts); ++t) {
    auto const name = "text" + std::to_string(texts[t]);
    if (texts[t] != t) fail("has a group " + name + " and no text" + std::to_string(t));
    h5::Handle text;
    try {
      text = h5::open_group(file_, name);
    } catch (RunError const&) {
      fail("has a " + name + " that is not a readable group");
    }
    auto const title = name_in(text, "name", name);
    names_.push_back(title.empty() ? name : title);
    auto& layers = layers_.emplace_back();
    for (auto const number : numbers_after("layer", text)) {
      auto const folder = name + "/layer" + std::to_string(number);
      try {
        h5::open_group(file_, folder);
      } catch (RunError const&) {
        fail("has a " + folder + " that is not a readable group");
      }
      layers.push_back(std::make_unique<TensorLayer>(file_, path_, folder + "/", number));
    }
    if (layers.empty()) fail("has no group " + name + "/layer<L> with Q, K and V");
    check_counts(text, name, layers.front()->n());
    auto const& first = layers_.front();
    bool const same = std::equal(layers.begin(), layers.end(), first.begin(), first.end(),
                                 [](auto const& a, auto const& b) { return a->shape() == b->shape(); });
    if (!same) fail("has layers of " + name + " that differ from those of text0 in number, shape or attributes; all texts need the same");
  }
}

InputShape TensorFile::shape() const {
  InputShape shape;
  shape.LayerShape::operator=(layers_.front().front()->shape());
  shape.name = std::filesystem::path(path_).filename().string();
  shape.reversed = layers_.front().front()->reversed();
  for (auto const& layer : layers_.front()) shape.layers.push_back(layer->shape());
  shape.texts = names_;
  shape.model = model_;
  return shape;
}

TensorLayer const& TensorFile::layer(std::int64_t text, std::int64_t number) const {
  for (auto const& layer : layers_.at(text)) {
    if (layer->shape().layer == number) return *layer;
  }
  throw std::out_of_range("no layer " + std::to_string(number) + " in " + path_);
}

void try_tensor_file(std::string const& path) {
  auto const read_ends = [&] {
    TensorFile const file(path);
    for (std::int64_t text = 0; text < file.texts(); ++text) {
      for (auto const& shape : file.shape().layers) {
        auto const& layer = file.layer(text, shape.layer);
        auto const rows = std::min<std::int64_t>(shape.m, 64);
        std::vector<float> out(rows * shape.width());
        for (auto const head : {std::int64_t{0}, shape.heads - 1}) {
          for (auto const begin : {layer.first_query(), shape.n - rows}) {
            layer.read_queries(head, begin, rows, out.data());
            layer.read_keys(head, begin, rows, out.data());
            layer.read_values(head, begin, rows, out.data());
          }
        }
      }
    }
  };
  if (!h5::ends_in_child(read_ends))
    throw UsageError("--input", path, "is a damaged HDF5 file: the HDF5 library does not survive reading it");
}

}  // namespace asymptop
