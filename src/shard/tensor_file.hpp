// Real tensors in an HDF5 file, in one of two layouts:
//   version 1   Q, K and V at the root: one layer of one text
//   version 2   root attribute tensor_format = 2; groups text<T>/layer<L> with Q, K and V each, T = 0, 1, ...: every text has the same
//   layers,
//               which say how the model attends
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "plan/input_shape.hpp"
#include "shard/tensor_layer.hpp"

namespace asymptop {

/// Open for reading on every rank.
class TensorFile {
 public:
  /// Throws UsageError naming what is missing, misshapen or of another type, and texts whose layers differ.
  explicit TensorFile(std::string const& path);

  std::string const& path() const { return path_; }
  /// All that a plan needs to know of it.
  InputShape shape() const;
  std::int64_t texts() const { return std::ssize(layers_); }
  /// Of a text, by the layer's number in the model, -1 where the file has none. Throws std::out_of_range.
  TensorLayer const& layer(std::int64_t text, std::int64_t number) const;

 private:
  void open_texts();
  /// An attribute that only says what something is called; empty where there is none. where: the object's name.
  std::string name_in(hid_t object, std::string const& attribute, std::string const& where) const;
  /// Those of a text that count tokens, against the keys of its layers.
  void check_counts(hid_t text, std::string const& name, std::int64_t n) const;
  [[noreturn]] void fail(std::string const& why) const;

  std::string path_;
  h5::Handle file_;
  std::vector<std::vector<std::unique_ptr<TensorLayer>>> layers_;  ///< of each text, in the order of their numbers
  std::vector<std::string> names_;                                 ///< of the texts
  std::string model_;
};

/// Throws UsageError when libhdf5 does not survive opening the file and reading the ends of its tensors, which is tried in a child process.
/// Says nothing about other faults: TensorFile finds them.
void try_tensor_file(std::string const& path);

}  // namespace asymptop
