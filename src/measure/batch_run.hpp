// One batch of query rows on all ranks: what is sent where between the two passes over the keys.
#pragma once

#include <vector>

#include "measure/draw.hpp"
#include "measure/first_pass.hpp"
#include "measure/row_batch.hpp"
#include "measure/row_owner.hpp"
#include "measure/second_pass.hpp"

namespace asymptop {

/// Everything of one batch that outlives a step.
class BatchRun {
  using Space = StudySpace;

 public:
  BatchRun(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, Range const& shard, QueryRows queries,
           std::int64_t first_row, ShardTensors<Space>& tensors, PhaseTimes& phases)
      : setup_(setup),
        comm_(*setup.comm),
        group_(group),
        draw_(draw),
        shard_(shard),
        queries_(std::move(queries)),
        first_row_(first_row),
        tensors_(tensors),
        phases_(phases),
        batch_(space_, queries_, group, shard, tile_sizes(setup.config->block)) {
    for (auto const& item : group.cases) axes_.sigma.push_back(item.sigma);
    axes_.k = group.k;
    axes_.held = group.held;
    axes_.epsilon = setup.config->epsilon;
  }

  /// The steps of the batch, in order. Returns the rows that this rank owns, finished.
  std::vector<OwnedRow> run(std::vector<CheckResiduals>& checks);

 private:
  /// The rank that owns each row of the batch.
  std::vector<int> all_owners() const;
  /// --count-above at the row's own n.
  std::vector<double> thresholds_of(int row) const;

  /// First pass over the shard, then the global selection and profile of a few rows at a time, each evaluated at its owner.
  void profile_and_merge();

  OwnedRow evaluate(int row, std::vector<Candidate> const& head, std::int64_t const* moments) const;

  /// Whether any rank has open probes (true before the first round); sets the most of any row.
  bool open_anywhere();

  /// Owners tell all ranks the segments of their rows; sums are made.
  void prepare_second_pass();

  /// Two rows of each draw, another two in the next.
  void prepare_audit(std::size_t rows, std::size_t segments, std::size_t d);

  /// Owners tell all ranks the open probes of their rows.
  void load_probes();

  /// Sums of attention and audit come home: exact integers, added up at the row's owner.
  void take_sums(std::vector<CheckResiduals>& checks);

  /// Answers of the probes come home; settled ones leave the list of open ones.
  void take_answers();

  /// What the rows themselves say of their correctness.
  void check_rows(std::vector<CheckResiduals>& checks) const;

  StudySetup const& setup_;
  Communicator const& comm_;
  GroupPlan const& group_;
  std::int64_t draw_;
  Range shard_;
  QueryRows queries_;
  std::int64_t first_row_;
  ShardTensors<Space>& tensors_;
  PhaseTimes& phases_;
  Space space_;
  RowBatch<Space> batch_;
  MetricAxes axes_;
  std::vector<OwnedRow> rows_;
  SecondPass<Space> work_;
  std::vector<int> audited_;
  std::vector<std::int64_t> edges_;
  std::size_t probes_per_row_ = 0;
  bool first_round_ = true;
};

}  // namespace asymptop
