// Where a result comes from: program, machine, libraries, options.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"

namespace asymptop {

/// Root attributes of a results file, as src/results/README.md lists them.
struct Provenance {
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, std::int64_t>> integers;
  std::vector<std::pair<std::string, double>> numbers;
};

/// What a run says of itself.
struct RunIdentity {
  std::string kind;  ///< `study`, `bench`
  std::string command_line, config_text;
  std::uint64_t seed = 0;
  std::int64_t block = 0;
  int threads = 1;
};

/// Collective; complete on all ranks. `numbers`: yardsticks measured in the run.
Provenance collect_provenance(Communicator const& comm, RunIdentity const& run, std::vector<std::pair<std::string, double>> numbers);

/// The name of the machine that this process runs on.
std::string host_name();

/// The linker's name of this program: programs of one name are the same, byte for byte.
std::string build_id();

/// `asymptop 0.1.0 (hash)`.
std::string version_text();

}  // namespace asymptop
