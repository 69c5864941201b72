// Where a result comes from: program, machine, libraries, options.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"

namespace asymptop {

/// Root attributes of a results file, as src/results/README.md lists them.
struct Provenance {
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, std::int64_t>> integers;
  double sgemm_gflops = 0.0;
};

/// Collective. Complete on rank 0.
Provenance collect_provenance(Communicator const& comm, RunConfig const& config, int threads, double sgemm_gflops);

/// `asymptop 0.1.0 (hash)`.
std::string version_text();

}  // namespace asymptop
