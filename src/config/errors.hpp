// The two ways a run ends early: bad usage (exit 2, nothing written) and a failure while running (exit 1).
#pragma once

#include <stdexcept>
#include <string>

namespace asymptop {

/// Bad option, config or file: one line that names the option or dataset, the value and what is allowed. Exit code 2.
class UsageError : public std::runtime_error {
 public:
  UsageError(std::string const& what, std::string const& value, std::string const& allowed)
      : std::runtime_error(what + ": '" + value + "' " + allowed) {}
  explicit UsageError(std::string const& message) : std::runtime_error(message) {}
};

/// A run that cannot go on: storage, memory, a library's error. Exit code 1.
class RunError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace asymptop
