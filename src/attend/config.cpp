#include "attend/config.hpp"

#include <algorithm>
#include <iostream>

#include "config/config_file.hpp"
#include "config/errors.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace po = boost::program_options;
namespace {

constexpr char const* introduction =
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

po::options_description attend_options() {
  po::options_description options("Options", 118, 80);
  auto const text = [](char const* fallback) { return po::value<std::string>()->default_value(fallback); };
  add_common_options(options);
  auto add = options.add_options();
  add("output,o", text("attend.h5"), "results file: errors, norms, timings and self-checks of every draw");
  add("force", po::bool_switch(), "replace existing files");
  add("dry-run", po::bool_switch(), "print the cases with memory and flops; measure and write nothing");
  add("n", text(""), "rows and keys: 4096 | 4096,50000 | 2^10:2^16 (doubling) | 2^10:2^16:4 (factor 4); 1 to 2^30");
  add("d", text("64"), "head dimensions, 1 to 4096, LIST");
  add("k", text("64,n^0.5,n^0.75"), "keys kept by top-k attention, laws in n; rounded, clipped to n");
  add("sigma", text("1"), "standard deviation of the logits, laws in n");
  add("kernel", text("all"), "exact-attention | top-k-attention | all, LIST");
  add("mask", text("none"), "none | causal (row i sees keys 0 to i), LIST");
  add("spectral", po::bool_switch(), "measure the norms of the difference matrix; needs top-k-attention");
  add("iterations", text("200"), "most steps of the power iteration, 1 to 100000");
  add("input", text(""), "HDF5 file with Q, K and V, (n,d) or (heads,n,d), instead of synthetic input; --n are prefixes");
  add("heads", text(""), "heads of the file, e.g. 0,3 [all]");
  add("draws", text("1"), "independent draws of queries, keys and values: the replicates of every standard error");
  add("groups", text("auto"),
      "auto | G: share heads, laws of sigma and draws out among G groups of ranks, each a ring of its own; auto: by the rows of the rank "
      "that has most, as memory allows. Rates are those of one group");
  add("seed", text("1"), "seed of all draws");
  add("block", text("4096"), "keys per block, a power of two from 64; ranks own whole blocks; part of a result's identity");
  add("save-output", text(""), "write all attention outputs, (n, d) for each case and draw, to this HDF5 file, all ranks at once");
  return options;
}

}  // namespace

bool AttendConfig::wants(BenchKernel which) const { return std::find(kernel.begin(), kernel.end(), which) != kernel.end(); }

std::optional<AttendConfig> parse_attend_options(int argc, char const* const* argv, bool print_help) {
  auto const options = attend_options();
  auto const values = read_options("attend", argc, argv, options);
  if (values.count("help") != 0) {
    if (print_help)
      std::cout
          << introduction << "\n"
          << options
          << "\nExit codes: 0 all valid, 1 a case INVALID or a failed run, 2 bad usage (nothing written),\n75 stopped on request (SIGUSR1, "
             "SIGTERM).\n";
    return std::nullopt;
  }
  auto const text = [&](char const* name) { return values[name].as<std::string>(); };
  AttendConfig config;
  static_cast<MeasureOptions&>(config) = parse_measure_options(values);
  if (text("n").empty()) throw UsageError("--n is needed: rows and keys such as 2^10:2^14");
  config.n = parse_sizes("--n", text("n"), std::int64_t{1} << 30);
  config.d = parse_sizes("--d", text("d"), 4096);
  config.k = parse_laws("--k", text("k"));
  config.sigma = parse_laws("--sigma", text("sigma"));
  using enum BenchKernel;
  config.kernel = text("kernel") == "all" ? std::vector{exact_attention, top_k_attention}
                                          : choose_list("--kernel", text("kernel"), {exact_attention, top_k_attention});
  config.mask = choose_list("--mask", text("mask"), {Mask::none, Mask::causal});
  config.spectral = values["spectral"].as<bool>();
  config.iterations = parse_integer("--iterations", text("iterations"), 1, 100000);
  config.draws = parse_integer("--draws", text("draws"), 1, 1 << 20);
  config.groups = parse_groups(text("groups"));
  config.save_output = expand_home(text("save-output"));
  config.input = expand_home(text("input"));
  config.heads = parse_heads(text("heads"));
  for (auto const* name : {"d", "sigma", "draws"}) {
    if (!config.input.empty() && !values[name].defaulted())
      throw UsageError("--" + std::string(name), text(name), "applies to synthetic input, not to --input");
  }
  if (config.input.empty() && !config.heads.empty()) throw UsageError("--heads needs --input");
  if (config.spectral && !config.wants(top_k_attention)) throw UsageError("--spectral needs --kernel top-k-attention");
  if (!config.save_output.empty() && config.save_output == config.output)
    throw UsageError("--save-output", config.save_output, "is the results file too; give another name");
  return config;
}

}  // namespace asymptop
