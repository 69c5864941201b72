#include "app/machine.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "comm/measure_network.hpp"
#include "core/simd.hpp"
#include "measure/draw.hpp"
#include "results/provenance.hpp"
#include "score/score_tile.hpp"

namespace asymptop {
namespace {

/// Bytes that new allocations may take: the kernel's estimate, and what is left of a control group's limit.
double available_memory() {
  double available = 0.0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string name, unit; meminfo >> name;) {
    double kilobytes = 0.0;
    meminfo >> kilobytes;
    std::getline(meminfo, unit);
    if (name == "MemAvailable:") available = kilobytes * 1024.0;
  }
  for (auto const& [limit_file, usage_file] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    double limit = 0.0, usage = 0.0;
    if (std::ifstream(limit_file) >> limit && std::ifstream(usage_file) >> usage && limit > 0.0)
      available = std::min(available, std::max(limit - usage, 0.0));
  }
  // Slurm's control groups are not where those files are.
  if (char const* text = std::getenv("SLURM_MEM_PER_NODE")) {
    double const megabytes = std::atof(text);
    if (megabytes > 0.0) available = std::min(available, megabytes * 1048576.0);
  }
  return available;
}

/// What plans assume of a cluster's network, per rank of a full node; merges as on a server core of 2023.
constexpr Network assumed_network{10e-6, 1e-6, 1e9, 1e8};

}  // namespace

int allowed_core_count() {
  auto const cores = allowed_cores().size();
  return cores > 0 ? static_cast<int>(cores) : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  utsname machine{};
  return uname(&machine) == 0 ? machine.machine : "unknown";
}

int choose_threads(int option, int ranks_on_node) {
  if (option > 0) return option;
  if (char const* text = std::getenv("OMP_NUM_THREADS")) {
    int const threads = std::atoi(text);
    if (threads > 0) return threads;
  }
  int const cores = allowed_core_count(), all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  // Bound ranks have their cores to themselves; unbound ones share the node.
  return cores < all ? cores : std::max(1, cores / ranks_on_node);
}

int ranks_on_node(Communicator const& comm) {
  MPI_Comm node = MPI_COMM_NULL;
  int ranks = 1;
  check_mpi(MPI_Comm_split_type(comm.get(), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  check_mpi(MPI_Comm_size(node, &ranks), "MPI_Comm_size");
  check_mpi(MPI_Comm_free(&node), "MPI_Comm_free");
  return ranks;
}

Machine assume_machine(AssumedMachine const& assumed) {
  Machine machine;
  machine.assumed = true;
  machine.ranks = assumed.nodes * assumed.ranks_per_node;
  machine.ranks_on_node = assumed.ranks_per_node;
  machine.threads = assumed.threads;
  machine.fused = is_host_space<StudySpace> && simd::width > 4;
  machine.tiles_per_step = is_host_space<StudySpace> ? assumed.threads : tiles_per_step(StudySpace());
  if (machine.ranks > 1) machine.network = assumed_network;
  machine.memory_bytes = assumed.memory_bytes;
  return machine;
}

Machine describe_machine(Communicator const& comm) {
  Machine machine;
  machine.ranks = comm.size();
  machine.ranks_on_node = static_cast<int>(comm.max(static_cast<std::int64_t>(ranks_on_node(comm))));
  // Plans must agree, also where nodes differ.
  machine.threads = static_cast<int>(comm.min(static_cast<std::int64_t>(is_host_space<StudySpace> ? StudySpace().concurrency() : 1)));
  machine.fused = is_host_space<StudySpace> && simd::width > 4;
  machine.tiles_per_step = static_cast<int>(comm.max(static_cast<std::int64_t>(tiles_per_step(StudySpace()))));
  machine.network = measure_network(comm);
  machine.memory_bytes = -comm.max(-available_memory());
  return machine;
}

}  // namespace asymptop
