#include "shard/shard_tensors.hpp"

namespace asymptop {

template class ShardTensors<Kokkos::DefaultHostExecutionSpace>;

}  // namespace asymptop
