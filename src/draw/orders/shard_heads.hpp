// The best keys of every shard of the context, which need not be a rank's: the first pass over stretches of this rank's keys.
#pragma once

#include <memory>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "kernels/core/candidate.hpp"

namespace asymptop {

/// The p-th of `shards` shards of the context, as positions in the sequence.
Range context_shard(GlobalIndex n, int shards, int p);

class StretchHeads {
 public:
  StretchHeads(EntryRows const& rows, ShardTensors<RunSpace>& tensors, PhaseTimes& phases);
  /// Per row, the best `keep` keys of those that lie in `stretch` and on this rank, best first, counted from the rank's first key. Scores
  /// are those of the first pass over all keys: the walk begins and ends at whole blocks. Stretches ascend from call to call.
  std::vector<std::vector<PackedCandidate>> best(Range const& stretch, GlobalIndex keep);

 private:
  EntryRows const& rows_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  RunSpace space_;
  std::shared_ptr<PathBatch<RunSpace>> batch_;
  Range sorted_keys_{0, 0};  ///< whole blocks that several short stretches lie in, counted from the rank's first key
  std::vector<std::vector<PackedCandidate>> sorted_;  ///< per row, all of these
};

}  // namespace asymptop
