// The validated options of full attention.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/kernel_name.hpp"
#include "config/law.hpp"
#include "config/measure_options.hpp"
#include "config/run_config.hpp"

namespace asymptop {

struct AttendConfig : MeasureOptions {
  std::vector<std::int64_t> n, d;
  std::vector<Law> k, sigma;
  std::vector<BenchKernel> kernel;  ///< exact_attention, top_k_attention
  std::vector<Mask> mask;
  std::int64_t draws = 1;
  std::vector<std::int64_t> heads;  ///< heads of the tensor file, empty for all
  bool spectral = false;
  std::int64_t iterations = 200;  ///< of the power iteration, at most
  Path const* path = nullptr;     ///< of exact attention; null: the best of hosts
  bool share_gpu = false;         ///< ranks of a node may have the same one
  std::string save_output;        ///< HDF5 file of the attention outputs, empty for none
  int groups = 0;                 ///< teams of ranks that share heads, laws and draws out; 0: as the plan finds fastest

  bool wants(BenchKernel which) const;
};

/// Parses `asymptop attend` options. Returns nothing after --help was printed. Throws UsageError.
std::optional<AttendConfig> parse_attend_options(int argc, char const* const* argv, bool print_help);

}  // namespace asymptop
