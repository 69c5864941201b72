// How the cases of a benchmark grow with the ranks that measure them.
#pragma once

namespace asymptop {

/// Not at all, or as many keys for each rank; `none`: all ranks measure each case.
enum class Scaling { none, strong, weak };

inline char const* name_of(Scaling value) { return value == Scaling::none ? "none" : value == Scaling::strong ? "strong" : "weak"; }

}  // namespace asymptop
