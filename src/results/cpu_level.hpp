// Programs that are built for several levels of CPUs (ASYMPTOP_CPUS).
#pragma once

namespace asymptop {

/// The level that this program is built for, `x86-64-v3`; empty where it is the only one of its build.
char const* cpu_level();

}  // namespace asymptop
