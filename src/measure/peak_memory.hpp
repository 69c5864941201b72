// The most memory that this process held.
#pragma once

#include <sys/resource.h>

#include <fstream>
#include <string>

namespace asymptop {

/// Starts the process's high-water mark of resident memory anew. Where the kernel does not let us, it stays that of the whole run.
inline void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

/// Bytes.
inline double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) * 1024.0;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

}  // namespace asymptop
