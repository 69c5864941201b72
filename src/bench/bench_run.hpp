// The protocol of a benchmark case: set up, warm up, timed samples, check; for one count of ranks or several that take turns.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/bench_check.hpp"
#include "bench/bench_work.hpp"
#include "comm/over_ranks.hpp"
#include "comm/sample_statistics.hpp"

namespace asymptop {

/// The global selection of one run, over all ranks.
struct MergeResult {
  double seconds = 0.0, combine_seconds = 0.0, exposed_seconds = 0.0;    ///< the slowest rank's, median over samples
  std::int64_t bytes = 0, bytes_per_rank = 0, messages = 0, rounds = 0;  ///< sent by all and by the busiest; of all; of the rank with most
};

/// What was measured. The same on all ranks that took part.
struct BenchResult {
  std::vector<double> seconds;                        ///< per sample, the slowest rank's
  std::vector<std::string> phases;                    ///< of the work, in its order; `other` is what lies between them
  std::vector<std::vector<OverRanks>> phase_seconds;  ///< (sample, phase). In `merge`, ranks wait for the slowest first
  std::vector<double> imbalance;                      ///< per sample: max / mean - 1 over ranks of the time outside `merge`
  double peak_bytes = 0.0;                            ///< resident memory at its highest from set-up on, summed over ranks
  double peak_bytes_per_rank = 0.0;                   ///< the largest rank's
  double device_peak_bytes = 0.0;                     ///< of the memory of a rank's GPU at its highest from set-up on, the largest rank's
  MergeResult merge;
  std::vector<int> checked_rows;
  std::vector<Residual> residuals;

  SampleStatistics statistics() const { return sample_statistics(seconds); }
  std::string reason() const { return verdict_reason(residuals); }
  char const* verdict() const { return reason().empty() ? "VALID" : "INVALID"; }
};

/// A case and the ranks that measure it: item->ranks of the run's first ones. The others' communicator is not used.
struct BenchTurn {
  BenchCase const* item;
  Communicator const* comm;
};

/// Collective over `all`; the result of a turn is complete on the ranks that take part in it, empty elsewhere. together: all turns are
/// set up at once and their samples taken in rounds, one of each turn, so that a slow moment of the machine meets all alike; else one
/// turn after the other. Ranks that do not take part sleep meanwhile. Where turns share memory, a turn's peak is what its set-up and
/// warm-up added to that of a rank at rest. stop: asked between set-ups and samples, on all ranks alike; once it says so there are no
/// results.
std::vector<BenchResult> run_bench_turns(Communicator const& all, std::vector<BenchTurn> const& turns, bool together,
                                         BenchConfig const& config, BenchPath const& path, std::function<bool()> const& stop = {});

}  // namespace asymptop
