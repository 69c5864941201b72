// The benchmark over a given list of paths: what `asymptop bench` does over all of the build's.
#pragma once

#include <vector>

#include "comm/communicator.hpp"
#include "measure/bench/bench_work.hpp"

namespace asymptop {

int run_bench_with(std::vector<BenchPath> const& paths, Communicator const& comm, int argc, char const* const* argv);

}  // namespace asymptop
