// The selectors of a group's cases: ready for a draw's keys, and their orders on the rows of a batch.
#pragma once

#include <memory>
#include <vector>

#include "comm/task.hpp"
#include "draw/orders/entry_pass.hpp"
#include "kernels/select/selector.hpp"
#include "row/selected_row.hpp"
#include "study/draw.hpp"
#include "study/turn.hpp"

namespace asymptop {

/// Of one draw: those that look at keys beforehand have done so.
class DrawSelectors {
 public:
  DrawSelectors() = default;
  /// Collective.
  DrawSelectors(StudySetup const& setup, GroupPlan const& group, std::int64_t draw);

  std::size_t size() const { return selectors_.size(); }
  Selector& operator[](std::size_t i) const { return *selectors_[i]; }
  KeptSets sets(std::size_t i) const { return sets_[i]; }
  /// What names a row for its random choices. row: of the draw.
  std::uint64_t name_of(std::int64_t row) const;

 private:
  std::vector<std::unique_ptr<Selector>> selectors_;
  std::vector<KeptSets> sets_;
  Stream stream_{};
  std::int64_t head_ = -1;
};

/// The part of a batch that selectors work on.
struct SelectionBatch {
  StudySetup const& setup;
  Communicator const& comm;
  GroupPlan const& group;
  QueryRows const& queries;
  Range shard;
  std::int64_t first_row;  ///< of the draw
  MetricAxes const& axes;
  PhaseTimes& phases;
  Turn& turn;  ///< awaited before each pass over the keys
};

/// Fills OwnedRow::selected of this rank's rows, which are evaluated and have their heads. checks: per law of `axes`, of each selector.
Task<void> select_keys(SelectionBatch batch, DrawSelectors const& selectors, std::vector<OwnedRow>& rows,
                       std::vector<std::vector<CheckResiduals>>& checks);

}  // namespace asymptop
