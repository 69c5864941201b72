// One function per subcommand; each reads as its list of steps. They return the exit code.
#pragma once

#include "comm/communicator.hpp"

namespace asymptop {

/// 0 all valid, 1 a case INVALID.
int run_study(Communicator const& comm, int argc, char const* const* argv);
/// 0 all valid, 1 a case INVALID.
int run_simulate(Communicator const& comm, int argc, char const* const* argv);
/// 0 all valid, 1 a case INVALID.
int run_precision(Communicator const& comm, int argc, char const* const* argv);
/// 0 all valid, 1 a case INVALID.
int run_bench(Communicator const& comm, int argc, char const* const* argv);
/// 0 all valid, 1 a case INVALID.
int run_attend(Communicator const& comm, int argc, char const* const* argv);
/// 0 equal, 1 not.
int run_compare(int argc, char const* const* argv);
int run_merge(int argc, char const* const* argv);
int run_info(int argc, char const* const* argv);

}  // namespace asymptop
