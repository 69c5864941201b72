// What the launcher has made of the ranks: checked before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// Throws UsageError, on all ranks alike, unless they are one run: as many as Slurm started, of one build, on CPUs for which libraries
/// choose the same kernels (results are the same bytes on one kind of CPU only). Prints a warning on rank 0 for every host on which
/// threads outnumber the cores that they may use. Collective.
void check_launch(Communicator const& comm, Machine const& machine);

/// What a rank says of itself.
struct RankPlace {
  std::string host, build, cpu;
  std::vector<int> cores;  ///< that it may use
};

/// The first difference between ranks, in words; empty when all are of one build on one kind of CPU.
std::string first_odd_rank(std::vector<RankPlace> const& places);

/// One line per host and set of cores on which more threads run than there are cores.
std::vector<std::string> crowded_cores(std::vector<RankPlace> const& places, int threads_per_rank);

/// Why the count of ranks is not what Slurm says; empty when it is, or where there is no Slurm. `variable`: a look into the environment.
template <class Variable>
std::string slurm_mismatch(Variable const& variable, int ranks) {
  char const* tasks = variable("SLURM_NTASKS");
  // mpirun counts for itself: -n may well be smaller than the allocation.
  if (tasks == nullptr || variable("OMPI_COMM_WORLD_SIZE") != nullptr || std::to_string(ranks) == tasks) return "";
  return "SLURM_NTASKS is " + std::string(tasks) + ", but this run has " + std::to_string(ranks) +
         " rank(s): the launcher has started processes that do not know of one another. Start them with srun --mpi=pmix or mpirun";
}

}  // namespace asymptop
