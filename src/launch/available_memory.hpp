// How much memory the ranks of a node may take, and what says so.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace asymptop {

struct AvailableMemory {
  double bytes = 0.0;  ///< at least 1 where it is known
  std::string limit;   ///< what sets it: the kernel's estimate, a control group's file, or variables of Slurm
};

/// A look into the environment; null where the variable is not set.
using Environment = std::function<char const*(char const*)>;

/// The least of: the kernel's estimate of what new allocations may take (MemAvailable), what is left of the limits of this process's
/// control group and of those that it lies in (versions 1 and 2; files that can be dropped from memory do not count as taken), and of
/// Slurm's SLURM_MEM_PER_NODE, SLURM_MEM_PER_CPU times the CPUs and SLURM_MEM_PER_GPU times the GPUs that the job has on the node (each
/// in MB; 0 is all of the node's). root: where /proc and the mount points of control groups are looked for.
AvailableMemory available_memory(Environment const& environment, std::filesystem::path const& root = "/");

}  // namespace asymptop
