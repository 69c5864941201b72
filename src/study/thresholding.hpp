// Selectors that keep every key whose estimated weight reaches a threshold, on the rows of a batch.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "kernels/select/threshold.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// Adds the metrics of what is kept to OwnedRow::selected of this rank's rows, the same at every k. What is dropped is summed itself; sums
/// are known to 2^-(61 - log2 n) of the row's largest weight. Collective.
Task<void> keep_above(SelectionBatch const& batch, ThresholdSelector const& selector, std::vector<OwnedRow>& rows);

}  // namespace asymptop
