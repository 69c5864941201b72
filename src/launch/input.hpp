// The tensor file that --input names.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "plan/plan.hpp"
#include "shard/tensor_file.hpp"

namespace asymptop {

/// The tensor file, if any, and what it brings to the plan.
struct Input {
  std::unique_ptr<TensorFile> file;
  InputShape shape;
};

/// Collective. Throws UsageError on all ranks.
Input open_input(Communicator const& comm, std::string const& path);

/// Every rank looks at its own part of the head; a bad value found by any of them ends the run with its place. Collective.
TensorScan scan_together(Communicator const& comm, TensorLayer const& layer, std::int64_t head, std::int64_t n, std::int64_t block);

/// The same of an index. Collective.
void scan_index_together(Communicator const& comm, IndexTensors const& index, std::int64_t head, std::int64_t n, std::int64_t block);

}  // namespace asymptop
