// One batch of query rows on all ranks: what is sent where between the two passes over the keys. A batch is a task: while its messages
// are under way another batch may compute, and it computes only when it is its turn.
#pragma once

#include <vector>

#include "comm/task.hpp"
#include "draw/first_pass.hpp"
#include "draw/row_batch.hpp"
#include "row/partial_draw.hpp"
#include "row/row_owner.hpp"
#include "study/draw.hpp"
#include "study/turn.hpp"

namespace asymptop {

/// Everything of one batch that outlives a step.
class BatchRun {
  using Space = RunSpace;

 public:
  /// comm: of this batch alone while it runs. partial: what is known of it from earlier, and what will be; null where nothing is.
  BatchRun(StudySetup const& setup, Communicator const& comm, GroupPlan const& group, std::int64_t draw, Range const& shard,
           QueryRows queries, std::int64_t first_row, DrawProgress& progress, PartialBatch* partial)
      : setup_(setup),
        comm_(comm),
        group_(group),
        draw_(draw),
        shard_(shard),
        queries_(std::move(queries)),
        first_row_(first_row),
        tensors_(*setup.tensors),
        progress_(progress),
        known_(partial),
        phases_(progress.phases()),
        batch_(space_, queries_, group, shard, setup.config->block),
        cases_(case_axes(group)) {
    axes_.sigma = cases_.sigma;
    checks_.resize(axes_.sigma.size());
    axes_.k = group.k;
    axes_.held = group.held;
    axes_.softcap = group.form.softcap;
    axes_.epsilon = setup.config->epsilon;
  }

  /// The steps of the batch, in order. Returns the rows that this rank owns, finished; nothing of use when the draw was left meanwhile.
  Task<std::vector<OwnedRow>> run();

  /// Awaited before each pass over the keys.
  Turn& turn() { return turn_; }
  Turn const& turn() const { return turn_; }

 private:
  /// The rank that owns each row of the batch.
  std::vector<int> all_owners() const;
  /// --count-above at the row's own n.
  std::vector<double> thresholds_of(int row) const;

  /// First pass over the shard, then the global selection and profile of a few rows at a time, each evaluated at its owner. When the pass
  /// is left early, what it found is merged and saved, and another goes on.
  Task<void> profile_and_merge();

  /// The global selection and profile of the keys of one walk, and of those that were seen before. Rows are evaluated when no key is left.
  Task<void> merge(ShardRows const& state, std::size_t keep, bool complete);

  /// The second pass, on top of what is known of this round. Left early, it is saved and goes on.
  Task<void> answer(std::size_t round);

  // batch_progress.cpp: what rank 0 keeps for a draw that may be left.

  PartialBatch& partial() { return known_ == nullptr ? unknown_ : *known_; }
  /// Whether passes may be left early.
  bool keeps() const { return progress_.breaks() && group_.parts_per_pass > 1; }

  /// A walk over this rank's keys but those that were seen.
  KeyWalk walk_of(std::vector<Range> const& seen);

  /// Rows' heads from rank 0, where those of an earlier pass are, to their owners, who merge them with what they have.
  Task<void> join_earlier_heads(std::vector<int> const& rows, std::vector<int> const& owner, std::vector<CandidateList>& heads,
                                std::size_t keep);

  /// Rows' heads and moments from their owners to rank 0.
  Task<void> keep_rows(std::vector<int> const& rows, std::vector<CandidateList> const& heads, std::vector<std::int64_t> const& moments);

  /// Sums and answers of a round: out of rank 0's memory, and into it.
  void restore_answers(PartialAnswers const& round);
  void keep_answers(KeyWalk const& walk, PartialAnswers& round);

  /// Calls visit(view) for each view of whole numbers that the second pass adds to, but those of the windows.
  template <class Visit>
  void for_each_sum(Visit const& visit) {
    for (auto& sums : work_.sums) visit(sums);
    visit(work_.audit_sums);
    visit(work_.probes.edge);
    visit(work_.probes.above);
  }

  /// Scores in the windows of probes, per (row, probe).
  struct Inside {
    std::vector<std::int64_t> counts, lengths;  ///< how many there are; how many of them follow
    std::vector<float> scores;                  ///< probe after probe
  };
  Inside inside_here() const;

  OwnedRow evaluate(int row, std::vector<Candidate> const& head, std::int64_t const* moments, std::vector<double> const& thresholds) const;

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
  void prepare_audit(std::int64_t rows, std::size_t segments, std::size_t d);

  /// Owners tell all ranks the open probes of their rows.
  Task<void> load_probes();

  /// Sums of attention and audit come home: exact integers, added up at the row's owner.
  Task<void> take_sums();

  /// Answers of the probes come home; settled ones leave the list of open ones.
  Task<void> take_answers();

  /// Winners of a row whose keys are made or read by themselves, in fp64: that keys, indices and scores belong together.
  void check_winners(OwnedRow const& row);

  /// What the rows themselves say of their correctness.
  void check_rows();

  /// The orders of the group's selectors on the rows, and their metrics.
  Task<void> select();

  StudySetup const& setup_;
  Communicator const& comm_;
  GroupPlan const& group_;
  std::int64_t draw_;
  Range shard_;
  QueryRows queries_;
  std::int64_t first_row_;
  ShardTensors<Space>& tensors_;
  DrawProgress& progress_;
  PartialBatch* known_;  ///< null where nothing is known
  PartialBatch unknown_;
  PhaseTimes& phases_;
  Space space_;
  RowBatch batch_;
  CaseAxes cases_;
  MetricAxes axes_;
  std::vector<CheckResiduals> checks_;  ///< per law
  std::vector<OwnedRow> rows_;
  SecondPass<Space> work_;
  std::vector<int> audited_;
  std::vector<std::int64_t> edges_;
  std::size_t probes_per_row_ = 0;
  bool first_round_ = true;
  Inside earlier_inside_;  ///< of this round, on rank 0: from an earlier run
  Turn turn_;
};

}  // namespace asymptop
