// Attributes of a case, one kind of value per name, so that a number's type in the file is chosen and not deduced.
#pragma once

#include <cstdint>
#include <string>

#include "h5/h5.hpp"

namespace asymptop {

/// How names of attributes of a case begin that say of its run what the root attributes say of another's.
inline std::string const run_attribute = "run_";

/// Writes attributes of one object.
class Attributes {
 public:
  explicit Attributes(hid_t object) : object_(object) {}
  void text(char const* name, std::string const& value) const { h5::write_attribute(object_, name, value); }
  void integer(char const* name, std::int64_t value) const { h5::write_attribute(object_, name, value); }
  void number(char const* name, double value) const { h5::write_attribute(object_, name, value); }

 private:
  hid_t object_;
};

}  // namespace asymptop
