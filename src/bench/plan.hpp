// The axes of a benchmark become explicit cases; impossible ones are skipped with their reason.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bench/config.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// The ways of `merge` that have their heads in the memory of GPUs; the first selects over the GPUs of all ranks.
inline constexpr std::array<char const*, 3> gpu_merges = {"exact-gpu", "union-gpu", "share-gpu"};
inline bool is_gpu_merge(std::string_view path) { return std::find(gpu_merges.begin(), gpu_merges.end(), path) != gpu_merges.end(); }

/// One kernel on one path at one size, measured by some ranks.
struct BenchCase {
  std::string id;  ///< names the case's group in the results file
  BenchKernel kernel = BenchKernel::score;
  std::string path;
  std::int64_t n = 0;
  int d = 0;
  int m = 0;           ///< 0 where there are no query rows
  std::int64_t k = 0;  ///< 0 where the kernel does not select
  std::string k_law;   ///< empty where the kernel does not select
  bool k_clipped = false;
  bool resident = true;
  MergeStrategy merge = MergeStrategy::owner;  ///< of kernels that select
  MergeEstimate merge_estimate;
  int ranks = 1;                ///< ranks 0 to ranks - 1 of the run take part
  double bytes_per_rank = 0.0;  ///< estimated peak
  double device_bytes = 0.0;    ///< of the memory of a rank's GPU, at most; 0 where the path has none

  /// n and k, as numbers to compute with.
  double keys() const { return exact_double(n); }
  double kept() const { return exact_double(k); }
  /// Whether ranks agree on what they keep: not where each selects alone.
  bool selects_over_ranks() const { return k > 0 && (kernel != BenchKernel::merge || path == "exact" || path == gpu_merges.front()); }
  bool decodes_on_gpus() const { return kernel == BenchKernel::merge && is_gpu_merge(path); }
  /// Floating-point operations: scores 2 m n d; exact attention as much again for V; top-k attention 2 m k d for V; normals none.
  double flops() const;
  /// Bytes of keys and values that must be read from memory once for all rows; 0 where they are streamed.
  double bytes_read() const;
};

/// Cases [first, end) of a plan that differ only in their ranks, and in n where it grows with them; fewest ranks first. A case of its
/// own where nothing is scaled.
struct BenchGroup {
  std::string id;
  std::size_t first = 0, end = 0;
  bool together = true;  ///< whether memory holds all of them at once
};

struct BenchPlan {
  std::vector<BenchCase> cases;
  std::vector<BenchGroup> groups;
  std::vector<Skip> skips;
  std::string refusal;  ///< why a run of it is refused, of a plan for --dry-run
};

/// The paths that a kernel has on this build, the one that `auto` takes first.
using PathsOf = std::function<std::vector<std::string>(BenchKernel)>;

/// Throws UsageError for an unknown path, for more ranks than there are, for a law that fails at some n, and when no case is left.
BenchPlan plan_bench(BenchConfig const& config, PathsOf const& paths_of, Machine const& machine);

/// The cases for programs.
nlohmann::ordered_json plan_records(BenchPlan const& plan);

/// The plan as a person reads it.
std::string describe(BenchPlan const& plan, BenchConfig const& config, Machine const& machine);

}  // namespace asymptop
