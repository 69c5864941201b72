// What this machine offers to the run.
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// Threads of this rank: the option (or OMP_NUM_THREADS in its place) where above 0, else the cores it may use shared among the node's
/// ranks.
int choose_threads(int option, int ranks_on_node);

/// Cores that this rank may use.
int allowed_core_count();

/// The processor's own name.
std::string cpu_name();

/// Ranks of this job on this node.
struct NodePlace {
  int ranks;  ///< on the node
  int place;  ///< of this one among them
};
NodePlace place_on_node(Communicator const& comm);

/// Ranks, threads, memory and GPUs as assumed, processors as here, a network such as clusters have.
Machine assume_machine(AssumedMachine const& assumed);

/// Collective: the tightest of all nodes.
Machine describe_machine(Communicator const& comm);

}  // namespace asymptop
