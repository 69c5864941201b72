// Selectors that weigh what they keep, another set at every k and under every law of sigma, on the rows of a batch.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "kernels/select/magicpig.hpp"
#include "kernels/select/vattention.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// Keys that rows have drawn and hold at once on a rank, unless it is a single row: a sample may be all keys.
inline constexpr std::int64_t most_sampled = std::int64_t{1} << 21;

/// And those that they ask other ranks about at once.
inline constexpr std::size_t most_asked = std::size_t{1} << 20;

/// Adds the metrics of a selector that draws keys beside the best ones to OwnedRow::selected of this rank's rows, which are evaluated and
/// have their heads. Collective.
Task<void> sample_keys(SelectionBatch const& batch, VattentionSelector const& selector, DrawSelectors const& all,
                       std::vector<OwnedRow>& rows);

/// The same of one that keeps what collides in hash tables, whatever k is.
Task<void> keep_collisions(SelectionBatch const& batch, MagicpigSelector const& selector, std::vector<OwnedRow>& rows);

}  // namespace asymptop
