// A benchmark's results file. Schema: src/results/README.md.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "bench/bench_run.hpp"
#include "bench/yardsticks.hpp"
#include "results/provenance.hpp"

namespace asymptop {

/// A finished case with what it is held against.
struct MeasuredCase {
  BenchCase item;
  BenchResult result;
  SgemmRates sgemm;         ///< at the case's m and d
  double fma_gflops = 0.0;  ///< of the cores used
  double read_bandwidth = 0.0;
  device::GpuRates gpu;        ///< cuBLAS at the case's m and d, where the path is that of a GPU
  double gpu_copy = 0.0;       ///< GB/s read and written within the GPU's memory
  int threads = 1;             ///< per rank
  double write_seconds = NAN;  ///< rank 0's for the results file that first held the case: written, closed, synced; not in the samples

  // Where the case is measured on several counts of ranks.
  Scaling scaling = Scaling::none;
  std::string scaling_id;                ///< of the group of cases
  bool in_rounds = false;                ///< samples of all counts took turns
  std::vector<double> one_rank_seconds;  ///< samples of the case on one rank

  /// NaN where there are no flops.
  double gflops() const { return item.flops() > 0.0 ? item.flops() / result.statistics().median / 1e9 : NAN; }
  /// Of one core, to make one number; NaN but for `normals`.
  double nanoseconds_per_normal() const;
  double share_of_sgemm() const { return gflops() / sgemm.best; }
  /// GB/s of keys and values read; NaN where they are streamed.
  double gigabytes_per_second() const;
  double share_of_bandwidth() const { return gigabytes_per_second() / read_bandwidth; }
  /// T1 / (p Tp) for a fixed problem, T1 / Tp for one that grows with p, where T1 is the time of one rank in the same run: the median
  /// over rounds where samples took turns, else the ratio of medians. NaN without scaling.
  double efficiency() const;
  std::vector<double> efficiency_of_rounds() const;
  /// Interquartile range of the efficiencies of single rounds; NaN where samples did not take turns.
  double efficiency_iqr() const;
  /// Work per time as a multiple of one rank's.
  double speed_up() const { return efficiency() * item.ranks; }
  double load_imbalance() const { return quantile(result.imbalance, 0.5); }
  /// Medians over samples, per phase.
  std::vector<OverRanks> phase_medians() const;
};

/// The cases of a scaling study, in order of their ranks: cases[first, end) share scaling_id.
struct ScalingRun {
  std::size_t first, end;
};
std::vector<ScalingRun> scaling_runs(std::vector<MeasuredCase> const& cases);

/// Writes all cases so far; the file is replaced as a whole. Throws RunError.
void write_bench_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredCase> const& cases);

}  // namespace asymptop
