// The two ways a run ends early: bad usage (exit 2, nothing written) and a failure while running (exit 1).
#pragma once

#include <stdexcept>
#include <string>

namespace asymptop {

/// A text from outside as part of a message of one line: control characters become ?, and what is long loses its middle.
inline std::string one_line(std::string text) {
  constexpr std::size_t longest = 400, end = 80;
  if (text.size() > longest) text.replace(longest - end, text.size() - longest, " ... ");
  for (auto& c : text) {
    if (unsigned char const byte = c; byte < 32 || byte == 127) c = '?';
  }
  return text;
}

/// Bad option, config or file: one line that names the option or dataset, the value and what is allowed. Exit code 2.
class UsageError : public std::runtime_error {
 public:
  UsageError(std::string const& what, std::string const& value, std::string const& allowed)
      : std::runtime_error(one_line(what) + ": '" + one_line(value) + "' " + one_line(allowed)) {}
  explicit UsageError(std::string const& message) : std::runtime_error(one_line(message)) {}
};

/// A run that cannot go on: storage, memory, a library's error. Exit code 1.
class RunError : public std::runtime_error {
 public:
  explicit RunError(std::string const& message) : std::runtime_error(one_line(message)) {}
};

}  // namespace asymptop
