#include "launch/machine.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "comm/cores.hpp"
#include "comm/merge/measure_network.hpp"
#include "draw/run_paths.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/score/score_tile.hpp"
#include "launch/available_memory.hpp"
#include "results/provenance.hpp"
#include "shard/run_space.hpp"

namespace asymptop {
namespace {

/// What plans assume of a cluster's network, per rank of a full node; merges as on a server core of 2023.
constexpr Network assumed_network{10e-6, 1e-6, 1e9, 1e8};

}  // namespace

int allowed_core_count() {
  int const cores = int_size(process_cores());
  return cores > 0 ? cores : checked_int(std::max(1u, std::thread::hardware_concurrency()));
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
  int const cores = allowed_core_count(), all = std::max(1u, std::thread::hardware_concurrency());
  // Bound ranks have their cores to themselves; unbound ones share the node.
  return cores < all ? cores : std::max(1, cores / ranks_on_node);
}

NodePlace place_on_node(Communicator const& comm) {
  MPI_Comm node = MPI_COMM_NULL;
  NodePlace found{1, 0};
  check_mpi(MPI_Comm_split_type(comm.get(), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  check_mpi(MPI_Comm_size(node, &found.ranks), "MPI_Comm_size");
  check_mpi(MPI_Comm_rank(node, &found.place), "MPI_Comm_rank");
  check_mpi(MPI_Comm_free(&node), "MPI_Comm_free");
  return found;
}

Machine assume_machine(AssumedMachine const& assumed) {
  Machine machine;
  machine.assumed = true;
  machine.ranks = assumed.nodes * assumed.ranks_per_node;
  machine.ranks_on_node = assumed.ranks_per_node;
  machine.threads = assumed.threads;
  machine.paths = run_paths();
  machine.tiles_per_step = is_host_space<RunSpace> ? assumed.threads : tiles_per_step(RunSpace());
  if (machine.ranks > 1) machine.network = assumed_network;
  machine.memory_bytes = assumed.memory_bytes;
  machine.memory_limit = "--machine";
  if (assumed.gpu_memory_bytes > 0.0) {
    machine.device_bytes = assumed.gpu_memory_bytes;
    machine.device_name = "--machine";
    if (std::find(machine.paths.begin(), machine.paths.end(), &device_path) == machine.paths.end()) machine.paths.push_back(&device_path);
  }
  return machine;
}

Machine describe_machine(Communicator const& comm) {
  Machine machine;
  machine.ranks = comm.size();
  machine.ranks_on_node = comm.max(place_on_node(comm).ranks);
  // Plans must agree, also where nodes differ.
  machine.threads = comm.min(is_host_space<RunSpace> ? RunSpace().concurrency() : 1);
  machine.paths = run_paths();
  machine.tiles_per_step = comm.max(tiles_per_step(RunSpace()));
  machine.network = measure_network(comm);
  auto const memory = available_memory([](char const* name) { return std::getenv(name); });
  machine.memory_bytes = -comm.max(-memory.bytes);
  machine.memory_limit = memory.limit;
  auto const& gpu = device::gpu();
  machine.device_bytes = -comm.max(-gpu.memory_bytes);
  machine.device_name = gpu.name;
  std::int64_t const id = gpu.id;
  auto const ids = comm.all_gather(std::vector<std::int64_t>{id});
  if (gpu.usable) machine.ranks_on_gpu = checked_int(std::count(ids.begin(), ids.end(), id));
  machine.ranks_on_gpu = comm.max(machine.ranks_on_gpu);
  comm.broadcast(machine.memory_limit, comm.min(memory.bytes > machine.memory_bytes ? comm.size() : comm.rank()));
  return machine;
}

}  // namespace asymptop
