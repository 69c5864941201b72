// Memory that a rank needs at its highest: resident bytes of the whole process (VmHWM), libraries and program included.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "plan/plan.hpp"

namespace asymptop {

/// A rank before it has keys: program, MPI, HDF5, Kokkos and BLAS as they lie in memory. Measured with Open MPI 4.1 and HDF5 1.10 on one
/// host; libraries for fast networks may take some 100 MB more.
inline constexpr double program_bytes = 3.3e7;

/// Memory of one of the ranks that share a node; 0 where that is not known.
inline double memory_of_rank(Machine const& machine, int ranks_on_node) { return machine.memory_bytes / std::max(1, ranks_on_node); }
inline double memory_of_rank(Machine const& machine) { return memory_of_rank(machine, machine.ranks_on_node); }

/// Whether a case that needs so many bytes of so many may be measured: a tenth stays free. What is not known is enough.
inline bool fits_into(double bytes, double memory) { return memory <= 0.0 || bytes <= 0.9 * memory; }

/// `3.20 GB are available (free memory of the node)`, for a refusal.
inline std::string available_text(Machine const& machine, double share) {
  return bytes_text(share) + " are available (" + machine.memory_limit + ")";
}

/// Lines of a plan: memory, and the GPU; none of what is not known.
inline std::string memory_line(Machine const& machine) {
  std::string line;
  if (machine.memory_bytes > 0.0)
    line = "Memory: " + bytes_text(machine.memory_bytes) + " for the ranks of a node (" + machine.memory_limit + ")\n";
  if (machine.device_bytes > 0.0)
    line += "GPU: " + machine.device_name + ", " + bytes_text(machine.device_bytes) + " free, " +
            (machine.ranks_on_gpu > 1 ? "shared by " + std::to_string(machine.ranks_on_gpu) + " ranks" : "one for each rank") + "\n";
  return line;
}

/// What to do where ranks would share a GPU that should not.
inline constexpr char const* own_gpu_advice = "start one rank for each GPU, or let them share it by --gpu shared, which takes longer";

/// Results of all draws of a group, which rank 0 holds until they are written.
double results_bytes(GroupPlan const& group, RunConfig const& config);

/// Of a group of a study, rows of one batch being `rows`: program; keys and values held or made; candidates and bins of the rows in work;
/// lists, messages and profiles on their way to their owners; sums of attention; and the results of all draws, which rank 0 holds. Within
/// 20% of what tests/app/test_memory.py measures, on the largest rank.
double study_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine, bool resident, double rows);

/// What rank 0 holds beside that for draws that are left inside a pass: whole heads, profiles and sums of a batch, and what is written.
double kept_bytes(GroupPlan const& group, RunConfig const& config);

/// Of a group of rows without keys.
double simulation_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine);

/// Batches of rows that are in flight at once: with several batches and ranks, the messages of one hide behind another's passes.
int batches_in_flight(GroupPlan const& group, double rows_per_batch, Machine const& machine);

}  // namespace asymptop
