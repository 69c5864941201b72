// A benchmark's results file. Schema: src/results/README.md.
#pragma once

#include <string>
#include <vector>

#include "measure/bench_run.hpp"
#include "measure/yardsticks.hpp"
#include "results/provenance.hpp"

namespace asymptop {

/// A finished case with what it is held against.
struct MeasuredCase {
  BenchCase item;
  BenchResult result;
  SgemmRates sgemm;         ///< at the case's m and d
  double fma_gflops = 0.0;  ///< of the cores used
  double read_bandwidth = 0.0;
  int ranks = 1, threads = 1;  ///< threads per rank

  double gflops() const { return item.flops() / result.statistics().median / 1e9; }
  double share_of_sgemm() const { return gflops() / sgemm.best; }
  /// GB/s of keys and values read; NaN where they are streamed.
  double gigabytes_per_second() const;
};

/// Writes all cases so far; the file is replaced as a whole. Throws RunError.
void write_bench_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredCase> const& cases);

/// Throws UsageError when the file may not be written.
void check_bench_output(std::string const& output, bool force);

}  // namespace asymptop
