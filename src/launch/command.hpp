// What the program knows of a subcommand. Each has a folder of its own, whose command.hpp gives this; app/program.cpp lists them.
#pragma once

#include <optional>
#include <string>

#include "comm/communicator.hpp"

namespace asymptop {

struct Command {
  std::string name;
  std::string summary;  ///< one line for --help
  /// The measurement, on all ranks; nullptr for a command that works on files. Returns the exit code: 0 all valid, 1 a case INVALID.
  int (*run)(Communicator const& comm, int argc, char const* const* argv);
  /// The option --threads; nothing where help was asked for, which is printed if `print` says so. May throw UsageError.
  std::optional<int> (*threads)(int argc, char const* const* argv, bool print);
  bool can_stop;  ///< may take long: ends at a boundary when it is asked to
  int (*run_on_files)(int argc,
                      char const* const* argv) = nullptr;  ///< in place of the above, by one process: needs neither MPI nor Kokkos
};

/// Command::threads of a command whose options `parse` reads.
template <auto parse>
std::optional<int> threads_of(int argc, char const* const* argv, bool print) {
  auto const config = parse(argc, argv, print);
  return config ? std::optional<int>(config->threads) : std::nullopt;
}

}  // namespace asymptop
