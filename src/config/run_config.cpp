#include "config/run_config.hpp"

#include <algorithm>

#include "config/errors.hpp"
#include "config/option_values.hpp"
#include "config/options.hpp"

namespace asymptop {

char const* name_of(RowSigma value) { return value == RowSigma::fixed ? "fixed" : "natural"; }
char const* name_of(Weights value) { return value == Weights::identity ? "identity" : value == Weights::gaussian ? "gaussian" : "product"; }
char const* name_of(SelfKey value) { return value == SelfKey::include ? "include" : "exclude"; }
char const* name_of(Mask value) { return value == Mask::causal ? "causal" : "none"; }
char const* name_of(Contexts value) {
  switch (value) {
    case Contexts::places:
      return "places";
    case Contexts::starts:
      return "starts";
    default:
      return "prefix";
  }
}
char const* name_of(ShareSelection value) { return value == ShareSelection::group ? "group" : "head"; }
char const* name_of(KeyStorage value) {
  return value == KeyStorage::automatic ? "auto" : value == KeyStorage::resident ? "resident" : "streamed";
}
char const* name_of(Path const* value) { return value == nullptr ? "auto" : value->name; }
char const* name_of(MpiMemory value) { return value == MpiMemory::host ? "host" : "device"; }
char const* name_of(GpuUse value) { return value == GpuUse::own ? "auto" : "shared"; }

namespace {

constexpr char const* study_introduction =
    "asymptop study: how sparse attention is, measured over context lengths n.\n"
    "\n"
    "For every n, d and sigma law it draws keys and query rows, runs exact and top-k attention over key shards on all MPI ranks,\n"
    "and writes the error of top-k attention at every k, k_epsilon, effective-entry counts and self-checks to an HDF5 file.\n"
    "\n"
    "  mpirun -n 2 asymptop study --n 2^10:2^16 --sigma 1,2 --k 64,n^0.5 -o results.h5\n"
    "  asymptop study --n 2^20 --sigma '2*sqrt(log(n))' --dry-run     the plan only: memory, work and skips\n"
    "  mpirun -n 2 asymptop study --input tensors.h5 --n 2^10:2^16    your own Q, K, V\n"
    "\n"
    "A law is one expression in n: 400, 4*n^0.5, log(n)^2, 2*sqrt(log(n)). LAWS and LISTs are comma-separated.\n";

constexpr char const* simulate_introduction =
    "asymptop simulate: the numbers of a study for rows of independent N(0, sigma^2) logits, without keys, for n up to 2^62.\n"
    "\n"
    "The largest scores of a row are drawn one by one, the others as order statistics with blocks of keys between them whose sums have\n"
    "their exact conditional means and covariances, so a row takes about a millisecond at any n. Up to n = 4096 a row is exact.\n"
    "It agrees with `study --row-sigma fixed` and has the same results file; every row of a draw is independent.\n"
    "\n"
    "  asymptop simulate --n 2^10:2^60:4 --sigma 1,2,'2*sqrt(log(n))' --k 64,n^0.5 -o simulated.h5\n"
    "\n"
    "A law is one expression in n: 400, 4*n^0.5, log(n)^2, 2*sqrt(log(n)). LAWS and LISTs are comma-separated.\n";

void check_target(RunConfig const& config) {
  if (!config.has_target()) {
    if (!config.target_metrics.empty()) throw UsageError("--target-metrics needs --target-se");
    if (config.max_seconds > 0.0) throw UsageError("--max-time needs --target-se");
    return;
  }
  if (config.draws < 2) throw UsageError("--draws", std::to_string(config.draws), "has no standard error for --target-se; use 2 or more");
  for (auto const& metric : config.target_metrics) {
    if (!config.output_error && metric.rfind("output_error", 0) == 0) throw UsageError("--target-metrics", metric, "is not measured");
  }
}

void check_together(RunConfig const& config, OptionValues const& values) {
  if (config.hold > 0 && config.output_error)
    throw UsageError("--hold", std::to_string(config.hold), "needs --output-error off: the output at a larger k is not measured");
  for (auto const& selector : config.selectors) {
    if (config.hold > 0 && !selector.is_oracle())
      throw UsageError("--hold", std::to_string(config.hold),
                       "goes with --selectors score alone: the keys that " + selector.text + " keeps are all held");
  }
  if (config.machine && !config.dry_run) throw UsageError("--machine", values.text("machine"), "needs --dry-run");
  if (config.force && config.resume) throw UsageError("--force and --resume exclude one another");
  if (values.given("R") && values.given("sigma")) throw UsageError("--R and --sigma exclude one another");
  if (!config.input.empty()) {
    for (auto const* name : {"d", "inputs", "sigma", "R", "row-sigma", "weights", "self"}) {
      if (values.given(name))
        throw UsageError("--" + std::string(name), values.text(name),
                         "applies to synthetic input, not to --input (sigma is measured, a query keeps its own key)");
    }
  } else {
    for (auto const& input : config.inputs) {
      if (input.is(Distribution::needle) && config.self == SelfKey::include)
        throw UsageError("--self", "include", "leaves no place for a query's planted key; --inputs " + name_of(input) + " needs exclude");
      if (input.is(Distribution::student) && input.parameter <= 2.0 && config.row_sigma == RowSigma::natural)
        throw UsageError("--inputs", name_of(input), "has no variance, so no natural spread of sigma; it needs --row-sigma fixed");
    }
    if (config.mask == Mask::causal) throw UsageError("--mask", "causal", "needs --input: synthetic queries have no position");
    for (auto const* name : {"heads", "layers", "contexts", "window", "drop-first", "first-keys", "recent-keys"}) {
      if (values.given(name)) throw UsageError("--" + std::string(name) + " needs --input");
    }
  }
}

RunConfig config_of(OptionValues const& values) {
  using Sizes = std::vector<std::int64_t>;
  using Laws = std::vector<Law>;
  RunConfig config;
  config.MeasureOptions::operator=(measure_options(values));
  config.resume = values.on("resume");
  config.checkpoint_minutes = values.get<double>("checkpoint-minutes");
  config.case_files_only = values.on("case-files-only");
  config.machine = values.get<std::optional<AssumedMachine>>("machine");
  config.n = values.get<Sizes>("n");
  config.d = values.get<Sizes>("d");
  config.inputs = values.get<std::vector<InputKind>>("inputs");
  config.sigma = values.get<Laws>("R");
  config.sigma_from_R = !config.sigma.empty();
  if (!config.sigma_from_R) config.sigma = values.get<Laws>("sigma");
  config.scale = values.get<std::optional<double>>("scale");
  config.k = values.get<Laws>("k");
  config.selectors = values.get<std::vector<SelectorChoice>>("selectors");
  if (values.get<ShareSelection>("share-selection") == ShareSelection::group) share_selection(config.selectors);
  config.rows = values.get<std::int64_t>("rows");
  config.draws = values.get<std::int64_t>("draws");
  config.row_sigma = values.get<RowSigma>("row-sigma");
  config.weights = values.get<Weights>("weights");
  config.self = values.get<SelfKey>("self");
  config.heads = values.get<Sizes>("heads");
  config.layers = values.get<Sizes>("layers");
  config.mask = values.get<Mask>("mask");
  config.mask_given = values.given("mask");
  config.window = values.get<std::optional<std::int64_t>>("window");
  config.drop_first = values.get<std::int64_t>("drop-first");
  config.first_keys = values.get<std::int64_t>("first-keys");
  config.recent_keys = values.get<std::int64_t>("recent-keys");
  config.contexts = values.get<std::optional<Contexts>>("contexts");
  config.epsilon = values.get<std::vector<double>>("epsilon");
  config.count_above = values.get<Laws>("count-above");
  config.output_error = values.get<bool>("output-error");
  config.batch_rows = values.get<std::int64_t>("batch-rows");
  config.hold = values.get<std::int64_t>("hold");
  config.keys = values.get<KeyStorage>("keys");
  config.path = values.get<Path const*>("path");
  config.merge = values.get<MergeStrategy>("merge");
  config.groups = values.get<int>("groups");
  config.mpi_memory = values.get<MpiMemory>("mpi-memory");
  config.share_gpu = values.get<GpuUse>("gpu") == GpuUse::shared;
  config.target_se = values.get<double>("target-se");
  config.target_metrics = values.get<std::vector<std::string>>("target-metrics");
  config.max_seconds = values.get<double>("max-time");
  check_together(config, values);
  return config;
}

}  // namespace

std::optional<RunConfig> parse_study_options(int argc, char const* const* argv, bool print_help) {
  auto const values = option_table().read(for_study, argc, argv);
  if (help_printed(values, for_study, study_introduction, print_help)) return std::nullopt;
  auto config = config_of(values);
  check_target(config);
  return config;
}

std::optional<RunConfig> parse_simulate_options(int argc, char const* const* argv, bool print_help) {
  auto const values = option_table().read(for_simulate, argc, argv);
  if (help_printed(values, for_simulate, simulate_introduction, print_help)) return std::nullopt;
  auto config = config_of(values);
  config.output_error = false;
  config.row_sigma = RowSigma::fixed;
  check_target(config);
  return config;
}

}  // namespace asymptop
