// The validated options of a study of arithmetic: which formats each stage of softmax has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/law.hpp"
#include "config/measure_options.hpp"
#include "config/precision_sets.hpp"
#include "config/run_config.hpp"

namespace asymptop {

struct PrecisionConfig : MeasureOptions {
  std::vector<std::int64_t> n;
  std::vector<Law> sigma, k, count_above;
  std::vector<PrecisionSet> precision;  ///< the first is fp64 throughout, pairwise: what the others are held against
  std::int64_t rows = 4, draws = 16;
  std::vector<std::int64_t> layers, heads;  ///< of the file; empty: all
  std::optional<Mask> mask;                 ///< instead of the file's own
};

/// Parses `asymptop precision` options. Returns nothing after --help was printed. Throws UsageError.
std::optional<PrecisionConfig> parse_precision_options(int argc, char const* const* argv, bool print_help);

}  // namespace asymptop
