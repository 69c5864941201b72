// A draw that is not finished: what its passes over the keys have found so far, of all ranks together.
//
// All of it is whole numbers whose sums do not depend on order, and the best candidates in a total order: what is left out of a pass can
// be added later, by any number of ranks, and gives the same bytes. Batches that are done are kept as their results. A batch in work is
// gone on with by walking through its steps again, with only the keys that its passes have not seen.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "comm/timing.hpp"
#include "row/case_data.hpp"
#include "shard/partition.hpp"

namespace asymptop {

/// Of the first pass of a batch. All ranks know what was seen; the rest is rank 0's.
struct PartialHeads {
  std::vector<Range> seen;            ///< runs of whole blocks of keys, ascending
  std::vector<CandidateList> heads;   ///< per row, best first
  std::vector<std::int64_t> moments;  ///< (rows, bins, 3)
};

/// Of one round of the second pass. All ranks know what was seen; the rest is rank 0's.
struct PartialAnswers {
  std::vector<Range> seen;
  std::vector<std::int64_t> sums;     ///< attention, audit, edges, counts above probes: as BatchRun holds them, one after another
  std::vector<std::int64_t> inside;   ///< (rows, probes): scores in the probe's window
  std::vector<std::int64_t> lengths;  ///< (rows, probes): how many of them are in `collected`
  std::vector<float> collected;       ///< those, probe after probe
  std::vector<double> audit_worst;    ///< per audited row
};

struct PartialBatch {
  PartialHeads first;
  std::vector<PartialAnswers> rounds;
};

struct PartialDraw {
  std::int64_t draw = -1;                                  ///< -1: none
  std::vector<std::vector<std::vector<double>>> finished;  ///< (batches, laws): packed rows; on other ranks than 0 empty ones
  PartialBatch batch;                                      ///< the one after those
  std::vector<CheckResiduals> checks;                      ///< per law, rank 0's: worst so far
  std::array<double, phase_names.size()> seconds{};        ///< rank 0's: slowest rank, so far
};

/// Where a draw may be left to go on with it later. All ranks ask at the same places, where nothing else is under way.
class DrawBreaks {
 public:
  enum class Answer { go_on, save, stop };
  virtual ~DrawBreaks() = default;
  /// Collective. `save` and `stop` both ask for save().
  virtual Answer ask() = 0;
  /// On rank 0 alone.
  virtual void save(PartialDraw const& partial) = 0;
};

/// The worst of each residual of all ranks, on all ranks. Collective.
CheckResiduals worst_over_ranks(Communicator const& comm, CheckResiduals const& own);

/// How far a draw has come: what its batches share.
class DrawProgress {
 public:
  /// breaks: null where the draw is not left. earlier: rank 0's counts, and of this draw alone. Collective.
  DrawProgress(Communicator const& comm, DrawBreaks* breaks, std::int64_t draw, std::size_t laws, PartialDraw earlier);

  PartialDraw& partial() { return partial_; }
  std::vector<CheckResiduals>& checks() { return checks_; }  ///< per law: this rank's
  PhaseTimes& phases() { return phases_; }
  bool breaks() const { return breaks_ != nullptr; }

  /// The batch in work is done.
  void batch_done(std::vector<std::vector<double>> const& packed);

  /// A place where the draw may be left. False: what is known is to be saved now. Collective.
  bool go_on();
  /// After that, with partial() up to date. Collective.
  void save();
  /// It was asked to stop, and has saved what is known.
  bool stopped() const { return stopped_; }

  /// What several ranks have seen of their shards, added to what all have seen before. Collective.
  void add_seen(GlobalIndex shard_begin, std::vector<Range> const& local, std::vector<Range>& seen) const;

  /// Slowest rank's, from the beginning of the draw, in earlier runs too. On rank 0. Collective.
  std::array<double, phase_names.size()> seconds() const;

 private:
  /// What rank 0 knows of an earlier run, as far as all ranks need to.
  void share();

  Communicator const& comm_;
  DrawBreaks* breaks_;
  PhaseTimes::Clock::time_point begin_ = PhaseTimes::Clock::now();
  PhaseTimes phases_;
  PartialDraw partial_;
  std::array<double, phase_names.size()> earlier_seconds_{};
  std::vector<CheckResiduals> checks_;
  DrawBreaks::Answer answer_ = DrawBreaks::Answer::go_on;
  bool stopped_ = false;
};

}  // namespace asymptop
