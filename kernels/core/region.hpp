// Regions for Kokkos Tools: which phase of a study kernels belong to, as any connector shows it.
#pragma once

#include <Kokkos_Core.hpp>

namespace asymptop {

/// A region from here to the end of the scope, as profilers that Kokkos loads see it. They nest: nothing may be awaited inside.
class Region {
 public:
  /// name: "Asymptop: " and the phase, one of those in jobs/README.md.
  explicit Region(char const* name) { Kokkos::Profiling::pushRegion(name); }
  ~Region() { Kokkos::Profiling::popRegion(); }
  Region(Region const&) = delete;
  Region& operator=(Region const&) = delete;
};

}  // namespace asymptop
