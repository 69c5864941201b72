// The batches of a draw, two in flight: while one computes, the messages of the other go on, and the queries of the next arrive.
//
//   compute     first pass 0 | first pass 1 | second pass 0 | first pass 2 | second pass 1 | ...
//   messages    queries 1    | merge 0      | merge 1       | sums 0       | merge 2       | ...
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "measure/study/batch_run.hpp"

namespace asymptop {

/// Rows [first, first + queries.rows()) of a draw, done. `packed` holds on rank 0 the numbers of all of them, per law.
struct FinishedBatch {
  QueryRows queries;
  std::vector<std::vector<double>> packed;
};

class BatchPipeline {
 public:
  /// queries: of the whole draw, on rank 0. Notes residuals in `checks`, one per law.
  BatchPipeline(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, QueryRows queries, PhaseTimes& phases,
                std::vector<CheckResiduals>& checks);
  ~BatchPipeline() { phases_.set_between_steps({}); }
  BatchPipeline(BatchPipeline const&) = delete;
  BatchPipeline& operator=(BatchPipeline const&) = delete;

  /// All batches, in order. Collective.
  std::vector<FinishedBatch> run();

 private:
  using Packed = std::vector<std::vector<double>>;
  struct InFlightBatch {
    QueryRows queries;
    BatchRun batch;
    std::optional<Task<Packed>> task;
  };

  std::size_t begin_of(std::size_t batch) const;
  void ask_for_queries();
  void start();
  void compute(InFlightBatch& next);
  void advance_messages(bool waiting);
  Task<Packed> run_batch(BatchRun& batch, Communicator const& comm);

  StudySetup const& setup_;
  GroupPlan const& group_;
  std::int64_t draw_;
  QueryRows queries_;
  PhaseTimes& phases_;
  std::vector<CheckResiduals>& checks_;
  std::size_t batches_, started_ = 0;
  std::optional<Task<QueryRows>> incoming_;  ///< queries of the next batch
  std::deque<InFlightBatch> in_flight_;
  std::vector<FinishedBatch> finished_;
};

}  // namespace asymptop
