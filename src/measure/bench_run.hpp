// The protocol of a benchmark case: set up, warm up, timed samples, check.
#pragma once

#include <string>
#include <vector>

#include "measure/bench_check.hpp"
#include "measure/bench_work.hpp"
#include "measure/sample_statistics.hpp"

namespace asymptop {

/// The global selection of one run, over all ranks.
struct MergeResult {
  double seconds = 0.0, exposed_seconds = 0.0;                           ///< the slowest rank's, median over samples
  std::int64_t bytes = 0, bytes_per_rank = 0, messages = 0, rounds = 0;  ///< sent by all and by the busiest; of all; of the rank with most
};

/// What was measured. The same on all ranks.
struct BenchResult {
  std::vector<double> seconds;       ///< per sample, the slowest rank's
  double peak_bytes = 0.0;           ///< resident memory at its highest between set-up and the last sample, summed over ranks
  double peak_bytes_per_rank = 0.0;  ///< the largest rank's
  MergeResult merge;
  std::vector<int> checked_rows;
  std::vector<BenchResidual> residuals;

  SampleStatistics statistics() const { return sample_statistics(seconds); }
  std::string reason() const { return verdict_reason(residuals); }
  char const* verdict() const { return reason().empty() ? "VALID" : "INVALID"; }
};

/// Collective.
BenchResult run_bench_case(Communicator const& comm, BenchCase const& item, BenchConfig const& config, BenchPath const& path);

}  // namespace asymptop
