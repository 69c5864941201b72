// What owners of rows ask of the ranks that hold their keys: scores one by one, and sums of values.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/task.hpp"
#include "draw/orders/entry_pass.hpp"
#include "study/selection.hpp"

namespace asymptop {

/// Rows of a group over a rank's shard.
inline EntryRows entry_rows_of(QueryRows const& queries, GroupPlan const& group, Range const& shard, GlobalIndex block) {
  return {queries, *group.path, shard, block, group.d, group.key_d(), group.form.softcap, group.slope(), group.slope_together()};
}
EntryRows entry_rows_of(SelectionBatch const& batch);

/// Fixed point for the values of the group's draws.
FixedPoint factor_of_values(SelectionBatch const& batch);

/// What bounds the memory of messages: keys that are asked for together. Streamed keys are made anew for every message.
inline constexpr std::size_t all_keys = SIZE_MAX;

/// Whether any rank has something left. Collective.
Task<bool> any_left(SelectionBatch const& batch, std::size_t left);

/// The scores of keys of this rank's rows, in the order of `wanted`. estimate: as that of scores_of(). Collective.
Task<std::vector<float>> ask_scores(SelectionBatch const& batch, std::vector<WantedScore> wanted, std::size_t together = all_keys,
                                    Projection const* estimate = nullptr);

/// Sums over keys of this rank's rows, (rows, sigmas, budgets, d + 1): d entries of e^{sigma (s - reference)} v, then the weight.
/// references: (rows, budgets), of this rank's rows, in their order. Collective.
Task<std::vector<double>> ask_outputs(SelectionBatch const& batch, std::vector<WantedOutput> wanted, std::vector<double> sigmas,
                                      std::vector<float> references, std::size_t budgets, std::size_t together = all_keys);

}  // namespace asymptop
