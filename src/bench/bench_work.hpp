// What a benchmark case runs: one kernel on one path, on all ranks, behind one interface.
//
// Paths are those of kernels/path/: one that is added there is measured here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/plan.hpp"
#include "comm/communicator.hpp"
#include "comm/timing.hpp"
#include "draw/queries.hpp"
#include "kernels/core/candidate.hpp"
#include "shard/partition.hpp"
#include "shard/run_space.hpp"
#include "shard/shard_tensors.hpp"

namespace asymptop {

/// A case's inputs as this rank sees them. Logits are the scores themselves (sigma = 1).
struct BenchProblem {
  /// Makes the queries; nothing large. Every rank has all of them.
  BenchProblem(Communicator const& communicator, BenchCase const& bench_case, BenchConfig const& config);

  Communicator const& comm;
  BenchCase const& item;
  GlobalIndex block;
  Range shard;                           ///< keys that this rank owns
  std::vector<GlobalIndex> shard_begin;  ///< of every rank
  QueryRows queries;                     ///< (m, d), with bounds of each row's scores
  TensorOrigin origin;                   ///< streams of keys and values
  RunSpace space;

  /// Rows of the result that this rank owns after a merge.
  Range owned() const { return owned_rows(item.m, comm.rank(), comm.size()); }
};

/// What a result says about some rows, on this rank. Fields that the kernel does not compute stay empty.
struct BenchAnswer {
  struct Row {
    int row = 0;
    std::vector<Candidate> top_k;  ///< min(k, n) candidates, best first
    std::vector<double> profile;   ///< log_sum_exp, entropy in nats, sum p^2, p_max
    std::vector<double> output;    ///< (d): the attention output
  };
  std::vector<Row> rows;  ///< those of the rows asked for that this rank owns, ascending

  /// Of `score`: scores of every row asked for with the shard's keys from first_key on, (rows, keys).
  LocalIndex first_key = 0;
  std::vector<float> scores;

  /// Of `merge`, per row asked for: this rank's candidates that are attended to, and those that are not; best first.
  struct Kept {
    std::vector<Candidate> kept, left;
  };
  std::vector<Kept> kept;

  /// Of `normals`: the shard's rows from first_key on, (keys, d).
  std::vector<float> normals;
};

/// What the global selection of a run cost this rank.
struct MergeCost {
  double seconds = 0.0;          ///< from when all ranks had their candidates
  double combine_seconds = 0.0;  ///< of these, `merge` alone: to combine the outputs of all ranks
  double exposed_seconds = 0.0;  ///< of the run, blocked: waiting for other ranks' candidates, then for messages
  Traffic sent;
};

/// Constructed before the clock starts, on all ranks: allocates, and loads what is resident. Every call is collective.
class BenchWork {
 public:
  virtual ~BenchWork() = default;
  /// The timed work: this rank's shard and the merge over ranks. Runs many times and starts from the inputs each time.
  virtual void run() = 0;
  /// Seconds of its phases on this rank, all runs so far added up.
  virtual PhaseTimes const& phases() const = 0;
  /// Whether scores are a phase of their own; otherwise they are made in the pass that selects or attends.
  virtual bool scores_apart() const = 0;
  /// The result of the last run for `rows` (ascending). Not timed.
  virtual BenchAnswer answer(std::vector<int> const& rows) = 0;
  /// Of the last run; nothing where the kernel does not select.
  virtual MergeCost merge_cost() const { return {}; }
};

/// A way to compute a kernel.
struct BenchPath {
  BenchKernel kernel;
  std::string name;
  std::function<std::unique_ptr<BenchWork>(BenchProblem const&)> make;
};

/// All paths of this build. The first of a kernel is the one that `--path auto` takes.
std::vector<BenchPath> const& bench_paths();

/// Their names for the plan, and the path of a case.
PathsOf paths_of(std::vector<BenchPath> const& paths);
BenchPath const& path_of(std::vector<BenchPath> const& paths, BenchCase const& item);

}  // namespace asymptop
