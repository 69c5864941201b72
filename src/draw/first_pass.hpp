// The passes over a rank's keys: one walk that drives any pass of any path, and the first pass with what it leaves.
#pragma once

#include <memory>

#include "comm/timing.hpp"
#include "draw/row_batch.hpp"
#include "shard/key_walk.hpp"

namespace asymptop {

/// Takes a pass along a walk's keys. `phases` gets the times of making keys and of the parts of each step.
void walk_keys(RunSpace const& space, KeyPass<RunSpace>& pass, ShardTensors<RunSpace>& tensors, KeyWalk& walk, PhaseTimes& phases);

/// What the first pass leaves on this rank: the shard's part of each row's profile, and its best candidates.
struct ShardRows {
  Tensor3<Kokkos::HostSpace, std::int64_t> moments;  ///< (rows, bins, 3); empty without a profile
  RowHead head;                                      ///< of a row, best first, at most `keep`; from any thread
};

/// Top-k of a walk's keys, and their profile where it is asked for. before: a pass of this batch with the same options whose memory may be
/// used again, or null; it becomes the one that was taken, if that may be used again.
ShardRows first_pass(RunSpace const& space, PathBatch<RunSpace>& batch, ShardTensors<RunSpace>& tensors, int keep, bool profile,
                     KeyWalk& walk, PhaseTimes& phases, std::shared_ptr<FirstPass<RunSpace>>* before = nullptr);

}  // namespace asymptop
