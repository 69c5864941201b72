#include "bench/config.hpp"

#include <algorithm>

#include "config/errors.hpp"
#include "config/options.hpp"

namespace asymptop {
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
    "  mpirun -n 4 asymptop bench --kernel merge --m 1 --k 2048 --path all --merge all      a decoding step: exact and local selections\n"
    "  mpirun -n 4 asymptop bench --scaling strong --n 2^22           each case on 1, 2 and 4 ranks\n"
    "\n"
    "  score            q.k of m query rows and n keys                      2 m n d flops\n"
    "  profile          scores, softmax profile and top-k in one pass       2 m n d\n"
    "  top-k            scores and the k largest of each row                2 m n d\n"
    "  exact-attention  softmax over all keys times V                       4 m n d\n"
    "  top-k-attention  softmax over the k largest times V                  2 m n d + 2 m k d\n"
    "  normals          makes the n d numbers of streamed keys; not one of all, and --m, --k and --keys mean nothing to it\n"
    "  merge            what ranks exchange for a row once each has its own k best: path exact agrees on the k best of all and combines\n"
    "                   outputs, union and share combine those of each rank's own k, or k/P, keys; not one of all; keys are resident.\n"
    "                   exact-gpu, union-gpu and share-gpu: where heads lie in the memory of GPUs\n"
    "\n"
    "--scaling measures each case on several counts p of ranks within the run: ranks 0 to p - 1 work, so the launcher's mapping decides\n"
    "where they sit, and the others sleep. Samples of the counts take turns where memory holds all of them at once. Efficiency is held\n"
    "against the time T1 of one rank in the same run: strong T1 / (p Tp), weak T1 / Tp, the median over rounds of turns.\n"
    "\n"
    "Keys, values and queries are standard normal, queries divided by sqrt(d). LISTs are comma-separated; every combination is a\n"
    "case, and those that cannot be are skipped with a reason. A law is one expression in n: 1024, 4*n^0.5, log(n)^2.\n";

}  // namespace

std::optional<BenchConfig> parse_bench_options(int argc, char const* const* argv, bool print_help) {
  auto const values = option_table().read(for_bench, argc, argv);
  if (help_printed(values, for_bench, introduction, print_help)) return std::nullopt;
  using Sizes = std::vector<std::int64_t>;
  BenchConfig config;
  MeasureOptions& common = config;
  common = measure_options(values);
  config.kernel = values.get<std::vector<BenchKernel>>("kernel");
  config.n = values.get<Sizes>("n");
  config.d = values.get<Sizes>("d");
  config.m = values.get<Sizes>("m");
  config.k = values.get<std::vector<Law>>("k");
  config.keys = values.get<std::vector<KeyStorage>>("keys");
  config.path = values.get<std::vector<std::string>>("path");
  config.merge = values.get<std::vector<MergeStrategy>>("merge");
  config.scaling = values.get<Scaling>("scaling");
  config.rank_counts = values.get<Sizes>("rank-counts");
  if (auto const list = values.text("rank-counts"); !list.empty()) {
    if (config.scaling == Scaling::none) throw UsageError("--rank-counts", list, "needs --scaling strong or weak");
    if (config.rank_counts.front() != 1)
      throw UsageError("--rank-counts", list, "lacks 1: efficiency is held against the time of one rank");
  }
  if (config.scaling != Scaling::none && std::find(config.kernel.begin(), config.kernel.end(), BenchKernel::merge) != config.kernel.end())
    throw UsageError("--scaling", values.text("scaling"), "is not for --kernel merge: a rank alone has nothing to exchange");
  config.samples = values.get<std::int64_t>("samples");
  config.share_gpu = values.get<GpuUse>("gpu") == GpuUse::shared;
  return config;
}

}  // namespace asymptop
