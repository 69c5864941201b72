// What runs that were killed have left where this one writes goes away, and is said. For rank 0.
#pragma once

#include <iostream>
#include <string>
#include <vector>

#include "results/whole_file.hpp"

namespace asymptop {

inline void say_discarded(std::vector<std::string> const& parts) {
  for (auto const& path : parts) std::cerr << "asymptop: " + path + " is discarded: it was not written to its end\n" << std::flush;
}

inline void discard_left_behind(std::string const& path) { say_discarded(discard_parts_of(path)); }

}  // namespace asymptop
