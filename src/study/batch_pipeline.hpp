// The batches of a draw, two in flight: while one computes, the messages of the other go on, and the queries of the next arrive.
//
//   compute     first pass 0 | first pass 1 | second pass 0 | first pass 2 | second pass 1 | ...
//   messages    queries 1    | merge 0      | merge 1       | sums 0       | merge 2       | ...
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "study/batch_run.hpp"

namespace asymptop {

/// Rows [first, first + queries.rows()) of a draw, done. `packed` holds on rank 0 the numbers of all of them, per law.
struct FinishedBatch {
  QueryRows queries;
  std::vector<std::vector<double>> packed;
};

class BatchPipeline {
 public:
  /// queries: of the whole draw, on rank 0. Goes on from what `progress` knows.
  BatchPipeline(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, QueryRows queries, DrawProgress& progress);
  ~BatchPipeline() { progress_.phases().set_between_steps({}); }
  BatchPipeline(BatchPipeline const&) = delete;
  BatchPipeline& operator=(BatchPipeline const&) = delete;

  /// All batches, in order; fewer when the draw was left meanwhile. Collective.
  std::vector<FinishedBatch> run();

 private:
  using Packed = std::vector<std::vector<double>>;
  struct InFlightBatch {
    QueryRows queries;
    BatchRun batch;
    std::optional<Task<Packed>> task;
  };

  std::size_t begin_of(std::size_t batch) const;
  /// Rank 0's queries of a batch; elsewhere none.
  QueryRows queries_of(std::size_t batch) const;
  void ask_for_queries();
  void finish_batch();
  void start();
  void compute(InFlightBatch& next);
  void advance_messages(bool waiting);
  Task<Packed> run_batch(BatchRun& batch, Communicator const& comm);

  StudySetup const& setup_;
  GroupPlan const& group_;
  std::int64_t draw_;
  QueryRows queries_;
  DrawProgress& progress_;
  PhaseTimes& phases_;
  std::size_t batches_, known_ = 0, started_ = 0;  ///< known_: done by an earlier run
  std::size_t next_break_ = 0;                     ///< no batch from this one on starts before those before it are done
  std::optional<Task<QueryRows>> incoming_;        ///< queries of the next batch
  std::deque<InFlightBatch> in_flight_;
  Waiting waiting_;
  std::vector<FinishedBatch> finished_;
};

}  // namespace asymptop
