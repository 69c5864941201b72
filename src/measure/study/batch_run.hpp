// One batch of query rows on all ranks: what is sent where between the two passes over the keys. A batch is a task: while its messages
// are under way another batch may compute, and it computes only when it is its turn.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "measure/draw.hpp"
#include "measure/first_pass.hpp"
#include "measure/row_batch.hpp"
#include "measure/study/row_owner.hpp"
#include "measure/study/second_pass.hpp"

namespace asymptop {

/// A task that awaits its turn goes on when someone grants it.
class Turn final : public InFlight {
 public:
  bool advance() override {
    awaited_ = true;
    return granted_;
  }
  void take() { awaited_ = granted_ = false; }
  bool awaited() const { return awaited_; }
  void grant() { granted_ = true; }

 private:
  bool awaited_ = false, granted_ = false;
};

/// Everything of one batch that outlives a step.
class BatchRun {
  using Space = StudySpace;

 public:
  /// comm: of this batch alone while it runs.
  BatchRun(StudySetup const& setup, Communicator const& comm, GroupPlan const& group, std::int64_t draw, Range const& shard,
           QueryRows queries, std::int64_t first_row, PhaseTimes& phases)
      : setup_(setup),
        comm_(comm),
        group_(group),
        draw_(draw),
        shard_(shard),
        queries_(std::move(queries)),
        first_row_(first_row),
        tensors_(*setup.tensors),
        phases_(phases),
        batch_(space_, queries_, group, shard, tile_sizes(setup.config->block)) {
    for (auto const& item : group.cases) axes_.sigma.push_back(item.sigma);
    axes_.k = group.k;
    axes_.held = group.held;
    axes_.epsilon = setup.config->epsilon;
  }

  /// The steps of the batch, in order. Returns the rows that this rank owns, finished.
  Task<std::vector<OwnedRow>> run(std::vector<CheckResiduals>& checks);

  /// Awaited before each pass over the keys.
  Turn& turn() { return turn_; }
  Turn const& turn() const { return turn_; }

 private:
  /// The rank that owns each row of the batch.
  std::vector<int> all_owners() const;
  /// --count-above at the row's own n.
  std::vector<double> thresholds_of(int row) const;

  /// First pass over the shard, then the global selection and profile of a few rows at a time, each evaluated at its owner.
  Task<void> profile_and_merge();

  OwnedRow evaluate(int row, std::vector<Candidate> const& head, std::int64_t const* moments) const;

  /// Whether any rank has open probes (true before the first round); sets the most of any row.
  Task<bool> open_anywhere();

  /// Integers of all rows on this rank's device, `width` a row, added up over ranks at the rows' owners. `sums` stays as it is meanwhile.
  template <class View>
  Task<std::vector<std::int64_t>> add_up(View const& sums, std::size_t width);

  /// Owners' numbers, in row order, for all ranks.
  Task<void> gather_from_owners(std::vector<std::int64_t>& integers, std::vector<float>& floats);

  /// Owners tell all ranks the segments of their rows; sums are made.
  Task<void> prepare_second_pass();

  /// Two rows of each draw, another two in the next.
  void prepare_audit(std::size_t rows, std::size_t segments, std::size_t d);

  /// Owners tell all ranks the open probes of their rows.
  Task<void> load_probes();

  /// Sums of attention and audit come home: exact integers, added up at the row's owner.
  Task<void> take_sums(std::vector<CheckResiduals>& checks);

  /// Answers of the probes come home; settled ones leave the list of open ones.
  Task<void> take_answers();

  /// Winners of a row whose keys are made or read by themselves, in fp64: that keys, indices and scores belong together.
  void check_winners(OwnedRow const& row, std::vector<CheckResiduals>& checks) const;

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
  Turn turn_;
};

}  // namespace asymptop
