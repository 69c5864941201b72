#pragma once

#include <vector>

#include "bench/bench_work.hpp"
#include "launch/command.hpp"

namespace asymptop {

Command bench_command();

/// The benchmark over a given list of paths: what `asymptop bench` does over all of the build's.
int run_bench_with(std::vector<BenchPath> const& paths, Communicator const& comm, int argc, char const* const* argv);

}  // namespace asymptop
