// The validated options of a benchmark.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/kernel_name.hpp"
#include "config/law.hpp"
#include "config/measure_options.hpp"
#include "config/run_config.hpp"
#include "config/scaling.hpp"

namespace asymptop {

struct BenchConfig : MeasureOptions {
  std::vector<BenchKernel> kernel;
  std::vector<std::int64_t> n, d, m;
  std::vector<Law> k;
  std::vector<KeyStorage> keys;   ///< resident and streamed only
  std::vector<std::string> path;  ///< names as given; `auto` and `all` are resolved by the plan
  std::vector<MergeStrategy> merge;
  Scaling scaling = Scaling::none;
  std::vector<std::int64_t> rank_counts;  ///< ascending; empty: the plan's choice
  std::int64_t samples = 10;
  bool share_gpu = false;  ///< ranks of a node may have the same one
};

/// Parses `asymptop bench` options. Returns nothing after --help was printed. Throws UsageError.
std::optional<BenchConfig> parse_bench_options(int argc, char const* const* argv, bool print_help);

}  // namespace asymptop
