// A selector's priorities over a rank's shard: its best entries, keys or pages of keys, for each row of a batch.
#pragma once

#include "comm/timing.hpp"
#include "draw/first_pass.hpp"
#include "draw/queries.hpp"
#include "kernels/select/selector.hpp"
#include "shard/partition.hpp"

namespace asymptop {

/// What an entry pass works on.
struct EntryRows {
  QueryRows const& queries;
  Path const& path;
  Range shard;
  GlobalIndex block;
  int d;
};

/// Heads of at most `keep` entries, counted from the shard's first; page divides the block. A page that a row sees a part of is made of
/// that part alone. Heads live no longer than `tensors` keeps the draw.
RowHead entry_heads(RunSpace const& space, EntryRows const& rows, Projection const& projection, int keep, ShardTensors<RunSpace>& tensors,
                    PhaseTimes& phases);

/// A key of a row, which is asked for its score.
struct WantedScore {
  GlobalIndex key;  ///< of the sequence, in the shard
  int row;
};

/// The scores q . k, each one chain of fused multiply-adds over the columns as on the fused path, in the order of `wanted`.
std::vector<float> scores_of(EntryRows const& rows, std::vector<WantedScore> const& wanted, ShardTensors<RunSpace>& tensors);

}  // namespace asymptop
