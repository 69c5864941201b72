// HDF5 handles and checked calls: RAII over the C API, one place where return codes are looked at.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/core/counts.hpp"

namespace asymptop::h5 {

/// Closes its id with the right function. Movable, not copyable.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  /// Throws RunError("HDF5: cannot <action>") when id is negative.
  Handle(hid_t id, Close close, std::string const& action);
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  Handle(Handle const&) = delete;
  Handle& operator=(Handle const&) = delete;
  ~Handle() { reset(); }
  operator hid_t() const { return id_; }
  void reset() noexcept;
  /// Closes now and throws if that fails (a full disk shows up here).
  void close(std::string const& action);

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Throws RunError unless status >= 0.
void check(herr_t status, std::string const& action);

/// HDF5's own stack traces off: errors are ours to report.
void silence();

/// Whether opening a file asks the system for a lock, so that one that another process is still writing is refused. Some file systems have
/// none; HDF5_USE_FILE_LOCKING, where it is set, says for all files.
enum class Locking { none, shared };
Handle open_file(std::string const& path, Locking locking = Locking::none);
Handle create_file(std::string const& path);
/// Never on a disk; goes away when it is closed.
Handle create_file_in_memory(std::string const& name);
Handle open_group(hid_t parent, std::string const& name);
Handle create_group(hid_t parent, std::string const& name);
std::vector<std::string> group_members(hid_t group);
bool has_link(hid_t parent, std::string const& name);

// Attributes. Text is variable-length UTF-8.
void write_attribute(hid_t object, std::string const& name, std::string const& value);
void write_attribute(hid_t object, std::string const& name, std::int64_t value);
void write_attribute(hid_t object, std::string const& name, double value);
std::string read_text_attribute(hid_t object, std::string const& name);  ///< of any length, or of a fixed one
std::int64_t read_int_attribute(hid_t object, std::string const& name);  ///< of an integer type
double read_double_attribute(hid_t object, std::string const& name);
bool has_attribute(hid_t object, std::string const& name);
std::vector<std::string> attribute_names(hid_t object);
using AnyAttribute = std::variant<std::string, std::int64_t, double>;
AnyAttribute read_attribute(hid_t object, std::string const& name);

/// How many axes a shape has, as HDF5 counts them.
inline int rank_of(std::vector<hsize_t> const& shape) { return int_size(shape); }

/// A dimension of a dataset: its length and the name of its scale in the same group.
struct Dimension {
  std::string scale;
  std::size_t length;
};

// Dimension scales and datasets with dimension scales, units and long_name. Larger datasets are chunked and deflated.
void write_scale(hid_t group, std::string const& name, std::vector<double> const& values, std::string const& units,
                 std::string const& long_name);
void write_scale(hid_t group, std::string const& name, std::vector<std::int64_t> const& values, std::string const& units,
                 std::string const& long_name);
void write_scale(hid_t group, std::string const& name, std::vector<std::string> const& values, std::string const& long_name);
void write_dataset(hid_t group, std::string const& name, std::vector<Dimension> const& dimensions, std::vector<double> const& values,
                   std::string const& units, std::string const& long_name);
void write_dataset(hid_t group, std::string const& name, std::vector<Dimension> const& dimensions, std::vector<std::int64_t> const& values,
                   std::string const& units, std::string const& long_name);

/// A dataset of any rank read whole: exactly one of the value vectors is filled.
struct AnyData {
  std::vector<hsize_t> shape;
  std::vector<double> numbers;
  std::vector<std::int64_t> integers;
  std::vector<std::string> texts;
};
AnyData read_dataset(hid_t group, std::string const& name);

}  // namespace asymptop::h5
