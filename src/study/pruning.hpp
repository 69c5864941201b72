// Selectors that choose keys by an order and keep those that top-p on estimated scores leaves of them, on the rows of a batch.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "kernels/select/twilight.hpp"
#include "row/selected_row.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// Adds the metrics of what is kept to OwnedRow::selected of this rank's rows. chosen: per row, the beginning of the order with true
/// scores: all keys where the largest k pays for as many. Collective.
Task<void> prune_keys(SelectionBatch const& batch, TwilightSelector const& selector, std::vector<SelectedKeys> chosen,
                      std::vector<OwnedRow>& rows);

}  // namespace asymptop
