// The global attention output: subtrees of all ranks are combined at the owner of each row.
#pragma once

#include <functional>
#include <vector>

#include "comm/communicator.hpp"
#include "kernels/attend/softmax_tree.hpp"

namespace asymptop {

/// run_of(row): this rank's subtrees of a row, `columns` values each; `owners` of rows 0, 1, ... is ascending. Returns one finished run
/// of a single node for each row that this rank owns. Ranks own ascending runs of leaves, so the tree is that of the sequence and the
/// result has the same bits for any number of ranks.
std::vector<SoftmaxRun> merge_attention(Communicator const& comm, std::function<SoftmaxRun const&(int)> const& run_of,
                                        std::vector<int> const& owners, int columns);

}  // namespace asymptop
