#pragma once

#include <Kokkos_Core.hpp>

namespace asymptop {

/// The space that measurements run in: the processor's cores, which hold the fused kernels too. A build whose portable kernels run on the
/// device of its Kokkos (ASYMPTOP_PORTABLE_DEVICE) has those kernels alone.
#ifdef ASYMPTOP_PORTABLE_DEVICE
using RunSpace = Kokkos::DefaultExecutionSpace;
#else
using RunSpace = Kokkos::DefaultHostExecutionSpace;
#endif

}  // namespace asymptop
