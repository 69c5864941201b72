#include "config/run_config.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <iostream>

#include "config/config_file.hpp"
#include "config/errors.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace po = boost::program_options;

char const* name_of(RowSigma value) { return value == RowSigma::fixed ? "fixed" : "natural"; }
char const* name_of(Weights value) { return value == Weights::identity ? "identity" : value == Weights::gaussian ? "gaussian" : "product"; }
char const* name_of(SelfKey value) { return value == SelfKey::include ? "include" : "exclude"; }
char const* name_of(Mask value) { return value == Mask::causal ? "causal" : "none"; }
char const* name_of(KeyStorage value) {
  return value == KeyStorage::automatic ? "auto" : value == KeyStorage::resident ? "resident" : "streamed";
}
char const* name_of(Path const* value) { return value == nullptr ? "auto" : value->name; }
char const* name_of(MpiMemory value) { return value == MpiMemory::host ? "host" : "device"; }

namespace {

constexpr Path const* automatic_path = nullptr;

/// `fused, blas-tile`: the paths that do all that a study asks for.
std::string path_choices(std::string const& between, bool explained) {
  std::string all;
  for (auto const* path : all_paths) {
    if (!path->whole()) continue;
    all += (all.empty() ? "" : between) + path->name;
    if (explained) all += std::string(" (") + path->what + ")";
  }
  return all;
}

Path const* choose_path(std::string const& text) {
  if (text == name_of(automatic_path)) return nullptr;
  auto const* const path = find_path(text);
  if (path == nullptr || !path->whole()) throw UsageError("--path", text, "is none of: auto, " + path_choices(", ", false));
  return path;
}

constexpr char const* introduction =
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

po::options_description study_options() {
  po::options_description options("Options", 118, 80);
  auto text = [](char const* fallback) { return po::value<std::string>()->default_value(fallback); };
  options.add_options()("help,h", "print this and exit")("config", po::value<std::string>(),
                                                         "INI file with the same names as these options; the command line wins")(
      "output,o", text("results.h5"), "results file; case files go to FILE.cases/ beside it")(
      "force", po::bool_switch(), "replace existing results")("resume", po::bool_switch(),
                                                              "continue existing results: keep complete valid cases, run the rest")(
      "checkpoint-minutes", po::value<double>()->default_value(5.0),
      "how often the draws so far of the cases in work are written down, and what is known of a long draw in work, for --resume; 0: "
      "whenever "
      "it can be")("json", text(""), "write tidy records to this file; - is stdout, and the table then goes to stderr")(
      "dry-run", po::bool_switch(), "print the plan; measure and write nothing, but the plan as JSON where --json says")(
      "machine", text(""),
      "with --dry-run: plan for other nodes than this one, e.g. nodes=4,ranks-per-node=2,threads=16,memory=256GB (of a node)")(
      "case-files-only", po::bool_switch(), "write the case files alone; `asymptop merge` joins them")(
      "n", text(""), "context lengths: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^20:4 (factor 4); 1 to 2^48")(
      "d", text("64"), "head dimensions, 1 to 4096 (synthetic input)")(
      "inputs", text(""),
      "what rows of synthetic keys and queries are distributed as [gaussian]: gaussian | uniform (bounded by sqrt(3)) | rademacher | "
      "sphere "
      "(norm sqrt(d)) | student:NU | ar1:RHO (correlated in time) | clusters:COUNT[:SPREAD] | needle:STRENGTH (a key planted for each "
      "query, its logit STRENGTH sigma_i over sqrt(2 log n) sigma_i); all but student with NU <= 2 have unit variance; "
      "src/draw/README.md has the formulas")("sigma", text("1"), "standard deviation of the logits, laws in n")(
      "R", text(""),
      "instead of --sigma: laws for R = B^2 |W|_F; sigma = scale * R / B^2 with B the largest coordinate, 1 where there is none")(
      "scale", po::value<double>(), "logit scale [1/sqrt(d)]")("k", text("64,n^0.5,n^0.75"),
                                                               "keys kept by top-k attention, laws in n; rounded, clipped to n")(
      "rows", text("64"), "query rows per draw")("draws", text("32"),
                                                 "independent draws of keys and queries: the replicates of every standard error")(
      "target-se", text(""),
      "e.g. 1%: go on after --draws until the standard error of every mean is at most so much of it, and say which are not")(
      "target-metrics", text(""), "metrics that --target-se counts, e.g. tail_mass,k_epsilon [all]")(
      "max-time", text(""),
      "e.g. 30m, 90s, 2h: add no draws for --target-se after that time; cases get shares of it as they are expected to take")(
      "seed", text("1"), "seed of all draws")("row-sigma", text("natural"),
                                              "natural: each row's sigma varies with its query | fixed: every row at exactly sigma")(
      "weights", text("identity"), "W: identity | gaussian (d x d) | product (W_Q W_K^T of Gaussian factors)")(
      "self", text("exclude"), "whether a query's own key is among the keys: exclude | include")(
      "input", text(""), "HDF5 file with Q, K and V, (n,d) or (heads,n,d), instead of synthetic input")(
      "heads", text(""), "heads of the file to study, e.g. 0,3 [all]")("mask", text("none"),
                                                                       "none | causal (tensor input: a query sees the keys up to its own)")(
      "epsilon", text("0.1,0.01"), "for k_epsilon: smallest k with tail_mass <= epsilon; in (0, 1)")(
      "count-above", text("1/n,1e-3,1e-2"), "thresholds on p whose exceedances are counted, laws in n")(
      "output-error", text("on"), "on | off: measure the error of the attention output, which needs V")(
      "hold", text("0"),
      "largest k that is found by rank; the error at larger k is that of the exactly counted keys above a score near theirs; needs "
      "--output-error off. 0: as memory allows")("block", text("4096"),
                                                 "keys per block, a power of two from 64; part of a result's identity")(
      "keys", text("auto"), "auto | resident (keep the keys of a draw) | streamed (make or read them anew for each pass)")(
      "path", text("auto"), ("auto | " + path_choices(" | ", true) + "; part of a result's identity").c_str())(
      "merge", text("auto"),
      "how ranks agree on the k largest: auto (fastest by estimate) | root (all lists to rank 0) | owner (lists to the rank that owns "
      "the row) | tree (pairwise) | threshold (owners find each row's k-th score first); the results are the same")(
      "batch-rows", text("0"),
      "query rows that pass over the keys together, 256 at most; with several ranks the messages of a batch hide behind another's passes. "
      "On BLAS tiles in 24s. 0: by the plan; the results are the same")(
      "groups", text("auto"),
      "auto | G: share the heads of tensor input out among G groups of ranks, each of which splits its heads' keys over its ranks")(
      "mpi-memory", text("host"),
      "host | device: whether a device's sums are copied to the host before they are sent, or sent by an MPI that reads device memory; the "
      "results are the same")("threads", text("0"), "threads per rank; 0 takes OMP_NUM_THREADS, else the cores that the rank may use");
  return options;
}

/// Those of a study that mean something for rows without keys.
po::options_description simulate_options() {
  po::options_description options("Options", 118, 80);
  options.add_options()("n", po::value<std::string>()->default_value(""),
                        "context lengths: 4096 | 4096,50000 | 2^10:2^60 (doubling) | 2^10:2^60:4 (factor 4); 1 to 2^62")(
      "d", po::value<std::string>()->default_value("64"), "head dimensions, which --R takes for the logit scale");
  auto const shared = study_options();
  for (auto const* name :
       {"help",    "config",      "output", "force", "resume", "checkpoint-minutes", "json",           "dry-run",  "sigma",
        "R",       "scale",       "k",      "rows",  "draws",  "target-se",          "target-metrics", "max-time", "seed",
        "epsilon", "count-above", "threads"}) {
    for (auto const& option : shared.options()) {
      if (option->long_name() == name) options.add(option);
    }
  }
  return options;
}

bool parse_switch(std::string const& option, std::string const& text) {
  if (text != "on" && text != "off") throw UsageError(option, text, "is neither on nor off");
  return text == "on";
}

std::vector<double> parse_epsilons(std::string const& list) {
  std::vector<double> values;
  for (auto const& item : split_list("--epsilon", list)) {
    char* end = nullptr;
    double const value = std::strtod(item.c_str(), &end);
    if (end != item.c_str() + item.size() || !(value > 0.0 && value < 1.0))
      throw UsageError("--epsilon", item, "is not a number in (0, 1)");
    if (std::find(values.begin(), values.end(), value) != values.end()) throw UsageError("--epsilon", list, "names " + item + " twice");
    values.push_back(value);
  }
  return values;
}

/// `1%` or `0.01`.
double parse_share(std::string const& option, std::string const& text) {
  double value = 0.0;
  auto const* end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, value);
  bool const percent = stop + 1 == end && *stop == '%';
  if (percent) value /= 100.0;
  if (error != std::errc() || (stop != end && !percent) || !(value > 0.0 && value < 1.0))
    throw UsageError(option, text, "is neither a percentage, such as 1%, nor a number between 0 and 1");
  return value;
}

/// `90s`, `30m`, `2h`, or a number of seconds.
double parse_duration(std::string const& option, std::string const& text) {
  double value = 0.0;
  auto const* end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, value);
  std::string const unit(stop, end);
  double const seconds = unit == "h" ? 3600.0 : unit == "m" ? 60.0 : unit.empty() || unit == "s" ? 1.0 : 0.0;
  if (error != std::errc() || !(value * seconds > 0.0 && value * seconds < 1e9))
    throw UsageError(option, text, "is no time such as 90s, 30m or 2h");
  return value * seconds;
}

/// Metrics of records.
std::vector<std::string> parse_metrics(std::string const& option, std::string const& list) {
  static std::vector<std::string> const known = {"tail_mass",     "row_l2_error",        "row_linf_error", "output_error_relative",
                                                 "output_error",  "k_epsilon",           "count_p_above",  "entropy_nats",
                                                 "sum_p_squared", "participation_ratio", "p_max"};
  auto const names = split_list(option, list);
  for (auto const& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string allowed;
    for (auto const& metric : known) allowed += (allowed.empty() ? "" : ", ") + metric;
    throw UsageError(option, name, "is none of: " + allowed);
  }
  return names;
}

void check_target(RunConfig const& config) {
  if (config.target_se <= 0.0) {
    if (!config.target_metrics.empty()) throw UsageError("--target-metrics needs --target-se");
    if (config.max_seconds > 0.0) throw UsageError("--max-time needs --target-se");
    return;
  }
  if (config.draws < 2) throw UsageError("--draws", std::to_string(config.draws), "has no standard error for --target-se; use 2 or more");
  for (auto const& metric : config.target_metrics) {
    if (!config.output_error && metric.rfind("output_error", 0) == 0) throw UsageError("--target-metrics", metric, "is not measured");
  }
}

void check_together(RunConfig const& config, po::variables_map const& values) {
  if (config.hold > 0 && config.output_error)
    throw UsageError("--hold", std::to_string(config.hold), "needs --output-error off: the output at a larger k is not measured");
  auto const given = [&](char const* name) { return values.count(name) != 0 && !values[name].defaulted(); };
  if (config.machine && !config.dry_run) throw UsageError("--machine", values["machine"].as<std::string>(), "needs --dry-run");
  if (config.force && config.resume) throw UsageError("--force and --resume exclude one another");
  if (given("R") && given("sigma")) throw UsageError("--R and --sigma exclude one another");
  if (!config.input.empty()) {
    for (auto const* name : {"d", "inputs", "sigma", "R", "row-sigma", "weights", "self"}) {
      if (given(name))
        throw UsageError("--" + std::string(name), values[name].as<std::string>(),
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
    if (!config.heads.empty()) throw UsageError("--heads needs --input");
  }
}

RunConfig config_of(po::variables_map const& values, std::int64_t most_n) {
  auto const text = [&](char const* name) { return values[name].as<std::string>(); };
  RunConfig config;
  static_cast<MeasureOptions&>(config) = parse_measure_options(values);
  config.resume = values["resume"].as<bool>();
  config.checkpoint_minutes = values["checkpoint-minutes"].as<double>();
  if (!(config.checkpoint_minutes >= 0.0))
    throw UsageError("--checkpoint-minutes", std::to_string(config.checkpoint_minutes), "is not a number from 0");
  config.case_files_only = values["case-files-only"].as<bool>();
  if (!text("machine").empty()) config.machine = parse_machine(text("machine"));
  if (text("n").empty()) throw UsageError("--n is needed: context lengths such as 2^10:2^16");
  config.n = parse_sizes("--n", text("n"), most_n);
  config.d = parse_sizes("--d", text("d"), 4096);
  if (!text("inputs").empty()) config.inputs = parse_inputs(text("inputs"));
  config.sigma_from_R = !text("R").empty();
  config.sigma = config.sigma_from_R ? parse_laws("--R", text("R")) : parse_laws("--sigma", text("sigma"));
  if (values.count("scale") != 0) {
    config.scale = values["scale"].as<double>();
    if (!std::isfinite(*config.scale) || *config.scale <= 0.0)
      throw UsageError("--scale", std::to_string(*config.scale), "is not a positive number");
  }
  config.k = parse_laws("--k", text("k"));
  config.rows = parse_integer("--rows", text("rows"), 1, 1 << 20);
  config.draws = parse_integer("--draws", text("draws"), 1, 1 << 20);
  config.row_sigma = choose("--row-sigma", text("row-sigma"), {RowSigma::natural, RowSigma::fixed});
  config.weights = choose("--weights", text("weights"), {Weights::identity, Weights::gaussian, Weights::product});
  config.self = choose("--self", text("self"), {SelfKey::exclude, SelfKey::include});
  config.input = expand_home(text("input"));
  config.heads = parse_heads(text("heads"));
  config.mask = choose("--mask", text("mask"), {Mask::none, Mask::causal});
  config.epsilon = parse_epsilons(text("epsilon"));
  config.count_above = parse_laws("--count-above", text("count-above"));
  config.output_error = parse_switch("--output-error", text("output-error"));
  config.batch_rows = parse_integer("--batch-rows", text("batch-rows"), 0, 256);
  config.hold = parse_integer("--hold", text("hold"), 0, (std::int64_t{1} << 30) - 1);
  config.keys = choose("--keys", text("keys"), {KeyStorage::automatic, KeyStorage::resident, KeyStorage::streamed});
  config.path = choose_path(text("path"));
  using enum MergeStrategy;
  config.merge = choose("--merge", text("merge"), {automatic, root, owner, tree, threshold});
  config.groups = parse_groups(text("groups"));
  config.mpi_memory = choose("--mpi-memory", text("mpi-memory"), {MpiMemory::host, MpiMemory::device});
  if (!text("target-se").empty()) config.target_se = parse_share("--target-se", text("target-se"));
  if (!text("target-metrics").empty()) config.target_metrics = parse_metrics("--target-metrics", text("target-metrics"));
  if (!text("max-time").empty()) config.max_seconds = parse_duration("--max-time", text("max-time"));
  check_together(config, values);
  return config;
}

/// True after printing, when --help was given.
bool help_printed(po::variables_map const& values, po::options_description const& options, char const* text, bool print_help) {
  if (values.count("help") == 0) return false;
  if (print_help)
    std::cout << text << "\n"
              << options
              << "\nExit codes: 0 all valid, 1 a case INVALID or a failed run, 2 bad usage (nothing written),\n75 stopped on request "
                 "(SIGUSR1, SIGTERM): --resume continues.\n";
  return true;
}

}  // namespace

std::optional<RunConfig> parse_study_options(int argc, char const* const* argv, bool print_help) {
  auto const options = study_options();
  auto const values = read_options("study", argc, argv, options);
  if (help_printed(values, options, introduction, print_help)) return std::nullopt;
  auto config = config_of(values, largest_n);
  check_target(config);
  return config;
}

std::optional<RunConfig> parse_simulate_options(int argc, char const* const* argv, bool print_help) {
  auto const options = simulate_options();
  auto values = read_options("simulate", argc, argv, options);
  if (help_printed(values, options, simulate_introduction, print_help)) return std::nullopt;
  auto const text = as_config(values);
  // A study's other options at their defaults.
  char const* const name = "simulate";
  po::store(po::parse_command_line(1, &name, study_options()), values);
  auto config = config_of(values, largest_simulated_n);
  config.output_error = false;
  config.row_sigma = RowSigma::fixed;
  config.config_text = text;
  check_target(config);
  return config;
}

}  // namespace asymptop
