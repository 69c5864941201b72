// Memory that this process holds, and the most that it held.
#pragma once

#include <sys/resource.h>

#include <fstream>
#include <string>

#include "kernels/core/counts.hpp"

namespace asymptop {

/// Starts the process's high-water mark of resident memory anew. Where the kernel does not let us, it stays that of the whole run.
inline void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

namespace detail {
/// Bytes that a line of the process's status gives; where there is none, the most that the process ever held.
inline double status_bytes(std::string const& line_start) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(line_start, 0) == 0) return std::stod(line.substr(line_start.size())) * 1024.0;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return exact_double(usage.ru_maxrss) * 1024.0;
}
}  // namespace detail

/// Bytes: at the highest, and now.
inline double peak_memory() { return detail::status_bytes("VmHWM:"); }
inline double resident_memory() { return detail::status_bytes("VmRSS:"); }

}  // namespace asymptop
