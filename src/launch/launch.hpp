// What the launcher has made of the ranks: checked before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/available_memory.hpp"

namespace asymptop {

/// Throws UsageError, on all ranks alike, unless they are one run: as many as the launcher started, of one build, which may have programs
/// for several levels of CPUs, with one arithmetic. Prints a warning on rank 0 for every host on which threads outnumber the cores that
/// they may use. Collective.
void check_launch(Communicator const& comm);

/// Throws UsageError, on all ranks alike, unless OpenBLAS has chosen the same kernels for all of them: for what is computed by it.
/// Collective.
void check_same_blas(Communicator const& comm);

/// One `rank level vectors processor` line for each rank. Complete on all; collective.
std::string cpus_of_ranks(Communicator const& comm);

/// What a rank says of itself.
struct RankPlace {
  std::string host, build, level, arithmetic, blas;
  std::vector<std::vector<int>> cores;  ///< that each of its threads may use
};

/// The first difference between ranks that makes one of bytes, in words; empty where there is none.
std::string first_odd_rank(std::vector<RankPlace> const& places);

/// The same of their OpenBLAS.
std::string first_odd_blas(std::vector<RankPlace> const& places);

/// One line per host and set of cores on which more threads run than there are cores.
std::vector<std::string> crowded_cores(std::vector<RankPlace> const& places);

/// Why the count of ranks is not what launchers say in the environment; empty when one of them says the same, or none says anything.
std::string launcher_mismatch(Environment const& environment, int ranks);

/// Whether no launcher says that it started this process together with others. SLURM_NTASKS does not count: a batch script has it, too.
/// In doubt false: MPI knows.
bool started_alone(Environment const& environment);

}  // namespace asymptop
