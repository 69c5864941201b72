// The paths of the space that measurements run in.
#pragma once

#include <memory>
#include <vector>

#include "kernels/path/batch.hpp"
#include "shard/run_space.hpp"

namespace asymptop {

/// Paths of this build that are worth their while on this processor, best first.
std::vector<Path const*> const& run_paths();

/// The best that takes pieces of a sequence in any order, fast or not. Throws RunError where there is none.
Path const& path_in_pieces();

/// Exact attention of rows on one of them. Throws RunError for another.
OwnedAttention<RunSpace> make_attention(Path const& path, RunSpace const& space, PathRows const& rows, TileSizes const& tiles,
                                        AttentionPass<RunSpace>::Options const& options);

/// A batch of rows on one of them. Throws RunError for another.
std::unique_ptr<PathBatch<RunSpace>> make_path_batch(Path const& path, RunSpace const& space, PathRows const& rows, TileSizes const& tiles);

}  // namespace asymptop
