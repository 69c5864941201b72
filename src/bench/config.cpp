#include "bench/config.hpp"

#include <algorithm>
#include <iostream>

#include "config/errors.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace po = boost::program_options;

char const* name_of(Scaling value) {
  switch (value) {
    case Scaling::none:
      return "none";
    case Scaling::strong:
      return "strong";
    case Scaling::weak:
      return "weak";
  }
  return "";
}

namespace {

constexpr char const* introduction =
    "asymptop bench: how fast the kernels are on this machine, and whether their results are right.\n"
    "\n"
    "Every case is set up, run once to warm up, then timed --samples times: barrier, work, and the slowest rank counts. The work\n"
    "includes the merge over ranks. Its result is then compared with an independent fp64 computation of a few rows: VALID or\n"
    "INVALID. Beside each rate stand yardsticks measured in the same run on the same cores: the best BLAS sgemm of the same shape,\n"
    "the peak of fp32 multiply-adds, and the bandwidth of reading memory.\n"
    "\n"
    "  asymptop bench                                                 all kernels at n = 2^20, d = 64, m = 256, k = 1024\n"
    "  mpirun -n 2 asymptop bench --kernel top-k --k 16,1024,n^0.7    one kernel, three values of k, two ranks\n"
    "  asymptop bench --kernel exact-attention,top-k --m 1 --n 2^18:2^24:4      a decoding step over growing contexts\n"
    "  mpirun -n 4 asymptop bench --kernel top-k --merge all           how ranks agree on the k largest, four ways\n"
    "  asymptop bench --n 2^22 --keys resident,streamed --dry-run     the cases only: memory and flops\n"
    "  mpirun -n 4 asymptop bench --scaling strong --n 2^22           each case on 1, 2 and 4 ranks\n"
    "\n"
    "  score            q.k of m query rows and n keys                      2 m n d flops\n"
    "  profile          scores, softmax profile and top-k in one pass       2 m n d\n"
    "  top-k            scores and the k largest of each row                2 m n d\n"
    "  exact-attention  softmax over all keys times V                       4 m n d\n"
    "  top-k-attention  softmax over the k largest times V                  2 m n d + 2 m k d\n"
    "  normals          makes the n d numbers of streamed keys; not one of all, and --m, --k and --keys mean nothing to it\n"
    "\n"
    "--scaling measures each case on several counts p of ranks within the run: ranks 0 to p - 1 work, so the launcher's mapping decides\n"
    "where they sit, and the others sleep. Samples of the counts take turns where memory holds all of them at once. Efficiency is held\n"
    "against the time T1 of one rank in the same run: strong T1 / (p Tp), weak T1 / Tp, the median over rounds of turns.\n"
    "\n"
    "Keys, values and queries are standard normal, queries divided by sqrt(d). LISTs are comma-separated; every combination is a\n"
    "case, and those that cannot be are skipped with a reason. A law is one expression in n: 1024, 4*n^0.5, log(n)^2.\n";

po::options_description bench_options() {
  po::options_description options("Options", 118, 80);
  auto const text = [](char const* fallback) { return po::value<std::string>()->default_value(fallback); };
  add_common_options(options);
  auto add = options.add_options();
  add("output,o", text("bench.h5"), "results file: every sample, verdict and yardstick");
  add("force", po::bool_switch(), "replace an existing results file");
  add("dry-run", po::bool_switch(), "print the cases with memory and flops; measure and write nothing");
  add("kernel", text("all"), "score | profile | top-k | exact-attention | top-k-attention | all | normals, LIST");
  add("n", text("2^20"), "keys: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^20:4 (factor 4); 1 to 2^48");
  add("d", text("64"), "head dimensions, 1 to 4096");
  add("m", text("256"), "query rows, 1 (a decoding step) to 16384");
  add("k", text("1024"), "keys kept by kernels that select, laws in n; rounded, clipped to n");
  add("keys", text("resident"), "resident (in memory before the clock starts) | streamed (made anew within the timed work), LIST");
  add("path", text("auto"), "auto (the kernel's first) | all | names, LIST; --path all --dry-run shows what there is");
  add("merge", text("auto"),
      "global selection of kernels that select: auto (fastest by estimate) | root | owner | tree | threshold | all, LIST");
  add("scaling", text("none"), "none | strong (--n keys in all) | weak (--n keys for each rank): every case on each count of ranks");
  add("rank-counts", text(""), "counts of ranks to scale over, LIST with 1, or 1:8 (doubling); default: powers of two, and all ranks");
  add("samples", text("10"), "timed repetitions of each case, at least 3");
  add("seed", text("1"), "seed of keys, values and queries");
  add("block", text("4096"), "keys per block, a power of two from 64; ranks own whole blocks");
  return options;
}

std::vector<BenchKernel> parse_kernels(std::string const& list) {
  using enum BenchKernel;
  if (list == "all") return {std::begin(all_bench_kernels), std::end(all_bench_kernels)};
  return choose_list("--kernel", list, {score, profile, top_k, exact_attention, top_k_attention, normals});
}

std::vector<MergeStrategy> parse_merges(std::string const& list) {
  using enum MergeStrategy;
  if (list == "all") return {std::begin(all_merge_strategies), std::end(all_merge_strategies)};
  return choose_list("--merge", list, {automatic, root, owner, tree, threshold});
}

}  // namespace

std::optional<BenchConfig> parse_bench_options(int argc, char const* const* argv, bool print_help) {
  auto const options = bench_options();
  auto const values = read_options("bench", argc, argv, options);
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
  BenchConfig config;
  static_cast<MeasureOptions&>(config) = parse_measure_options(values);
  config.kernel = parse_kernels(text("kernel"));
  config.n = parse_sizes("--n", text("n"), largest_n);
  config.d = parse_sizes("--d", text("d"), 4096);
  config.m = parse_sizes("--m", text("m"), 16384);
  config.k = parse_laws("--k", text("k"));
  config.keys = choose_list("--keys", text("keys"), {KeyStorage::resident, KeyStorage::streamed});
  config.path = split_list("--path", text("path"));
  config.merge = parse_merges(text("merge"));
  config.scaling = choose("--scaling", text("scaling"), {Scaling::none, Scaling::strong, Scaling::weak});
  if (auto const list = text("rank-counts"); !list.empty()) {
    if (config.scaling == Scaling::none) throw UsageError("--rank-counts", list, "needs --scaling strong or weak");
    config.rank_counts = parse_sizes("--rank-counts", list, 1 << 20);
    if (config.rank_counts.front() != 1)
      throw UsageError("--rank-counts", list, "lacks 1: efficiency is held against the time of one rank");
  }
  config.samples = parse_integer("--samples", text("samples"), 3, 10000);
  return config;
}

}  // namespace asymptop
