// The machine that a plan is made for from elsewhere: a login node plans for compute nodes.
#pragma once

#include <string>

namespace asymptop {

/// Nodes that are alike.
struct AssumedMachine {
  int nodes = 1, ranks_per_node = 1, threads = 1;
  double memory_bytes = 0.0;      ///< of a node; 0 when unknown
  double gpu_memory_bytes = 0.0;  ///< of a GPU, one for each rank; 0: there are none
};

/// `nodes=4,ranks-per-node=2,threads=16,memory=256GB,gpu-memory=141GB`, each part once or not at all. Throws UsageError.
AssumedMachine parse_machine(std::string const& text);

}  // namespace asymptop
