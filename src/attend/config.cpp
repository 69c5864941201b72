#include "attend/config.hpp"

#include <algorithm>

#include "config/errors.hpp"
#include "config/options.hpp"

namespace asymptop {
namespace {

constexpr char const* attend_introduction =
    "asymptop attend: full attention, every one of n query rows over n keys, exact and top-k.\n"
    "\n"
    "Queries, keys and values are spread over the ranks; keys and values travel round a ring of ranks in non-blocking messages while\n"
    "the present ones are worked on. Memory per rank is that of its rows, keys and values. Results are the same bytes for any number\n"
    "of ranks and threads. With both kernels the mean relative error of top-k attention's output is measured for every k, and with\n"
    "--spectral the spectral and Frobenius norm of the difference of the two attention matrices, divided by n.\n"
    "\n"
    "  mpirun -n 2 asymptop attend --n 2^12:2^14 --k 64,n^0.5 --sigma 1,2\n"
    "  mpirun -n 2 asymptop attend --n 2^15 --mask none,causal --kernel exact-attention --groups 1   rates with and without mask\n"
    "  mpirun -n 2 asymptop attend --n 2^10:2^14 --k n^0.5,n^0.75 --spectral --draws 8               norms of the difference\n"
    "  mpirun -n 2 asymptop attend --input tensors.h5 --n 2^14 --mask causal --save-output out.h5    your own Q, K, V\n"
    "\n"
    "Keys, values and queries are standard normal, queries divided by sqrt(d); logits are sigma times their products. With --input\n"
    "they come from a file, as python3 -m asymptop convert makes it, and logits are scaled by its scale or 1/sqrt(d). Under a causal\n"
    "mask row i sees keys 0 to i, and each rank owns an early and a late piece of the sequence, so that all have as much to do.\n"
    "The spectral norm is a lower bound by power iteration: until it changes by less than 1e-6, or --iterations; how far the last\n"
    "vector is from a singular vector is stored as spectral_residual. A law is one expression in n. LISTs are comma-separated.\n";

}  // namespace

bool AttendConfig::wants(BenchKernel which) const { return std::find(kernel.begin(), kernel.end(), which) != kernel.end(); }

std::optional<AttendConfig> parse_attend_options(int argc, char const* const* argv, bool print_help) {
  auto const values = option_table().read(for_attend, argc, argv);
  if (help_printed(values, for_attend, attend_introduction, print_help)) return std::nullopt;
  using Sizes = std::vector<std::int64_t>;
  AttendConfig config;
  MeasureOptions& common = config;
  common = measure_options(values);
  config.n = values.get<Sizes>("n");
  config.d = values.get<Sizes>("d");
  config.k = values.get<std::vector<Law>>("k");
  config.sigma = values.get<std::vector<Law>>("sigma");
  config.kernel = values.get<std::vector<BenchKernel>>("kernel");
  config.mask = values.get<std::vector<Mask>>("mask");
  config.spectral = values.on("spectral");
  config.iterations = values.get<std::int64_t>("iterations");
  config.draws = values.get<std::int64_t>("draws");
  config.groups = values.get<int>("groups");
  config.path = values.get<Path const*>("path");
  config.share_gpu = values.get<GpuUse>("gpu") == GpuUse::shared;
  config.save_output = values.get<std::filesystem::path>("save-output");
  config.heads = values.get<Sizes>("heads");
  for (auto const* name : {"d", "sigma", "draws"}) {
    if (!config.input.empty() && values.given(name))
      throw UsageError("--" + std::string(name), values.text(name), "applies to synthetic input, not to --input");
  }
  if (config.input.empty() && !config.heads.empty()) throw UsageError("--heads needs --input");
  if (config.spectral && !config.wants(BenchKernel::top_k_attention)) throw UsageError("--spectral needs --kernel top-k-attention");
  if (!config.save_output.empty() && config.save_output == config.output)
    throw UsageError("--save-output", config.save_output, "is the results file too; give another name");
  return config;
}

}  // namespace asymptop
