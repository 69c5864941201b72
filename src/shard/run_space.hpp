#pragma once

#include <Kokkos_Core.hpp>

namespace asymptop {

/// The space that measurements run in: the default one of the Kokkos build.
using RunSpace = Kokkos::DefaultExecutionSpace;

}  // namespace asymptop
