// The global attention output where subtrees rest in the memory of GPUs: they go to the owner of each row and are combined there.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <vector>

#include "comm/device_peers.hpp"
#include "kernels/path/device_nodes.hpp"

namespace asymptop {

/// nodes: this rank's subtrees of all rows; rows_of[r]: rows that rank r owns, in order. Returns the subtrees of this rank's rows over all
/// keys, by the tree of the sequence: merge_attention() in other memory.
DeviceNodes merge_nodes(Communicator const& comm, DevicePeers& peers, DeviceNodes const& nodes, std::vector<int> const& rows_of);

}  // namespace asymptop

#endif
