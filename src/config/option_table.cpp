#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "config/config_file.hpp"
#include "config/input_list.hpp"
#include "config/kernel_name.hpp"
#include "config/option_values.hpp"
#include "config/options.hpp"
#include "config/precision_sets.hpp"
#include "config/run_config.hpp"
#include "config/scaling.hpp"
#include "config/selector_list.hpp"

namespace asymptop {
namespace {

using Text = std::string const&;

OptionReader sizes(std::int64_t largest) {
  return [=](Text option, Text list) { return std::any(parse_sizes(option, list, largest)); };
}

OptionReader integer(std::int64_t low, std::int64_t high) {
  return [=](Text option, Text text) { return std::any(parse_integer(option, text, low, high)); };
}

template <class Enum>
OptionReader one_of(std::initializer_list<Enum> choices) {
  return [all = std::vector<Enum>(choices)](Text option, Text text) { return std::any(choose(option, text, all)); };
}

/// Nothing where the option is left empty.
template <class Enum>
OptionReader maybe_one_of(std::initializer_list<Enum> choices) {
  return [all = std::vector<Enum>(choices)](Text option, Text text) {
    return std::any(text.empty() ? std::optional<Enum>() : std::optional(choose(option, text, all)));
  };
}

template <class Enum>
OptionReader some_of(std::initializer_list<Enum> choices) {
  return [all = std::vector<Enum>(choices)](Text option, Text list) { return std::any(choose_list(option, list, all)); };
}

/// Names, among them `all` for those of a list. Throws UsageError for an item that names what the list holds already.
template <class Enum>
OptionReader all_or(std::vector<Enum> const& all, std::initializer_list<Enum> choices) {
  return [all, choices = std::vector<Enum>(choices)](Text option, Text list) { return std::any(choose_list(option, list, choices, all)); };
}

/// A reader whose option may be left empty, which stands for a value.
template <class T>
OptionReader or_none(T none, OptionReader const& read) {
  return [=](Text option, Text text) { return text.empty() ? std::any(none) : read(option, text); };
}

/// A reader whose option has no default. what: the values wanted, with an example.
OptionReader needed(char const* what, OptionReader const& read) {
  return [=](Text option, Text text) {
    if (text.empty()) throw UsageError(option + " is needed: " + what);
    return read(option, text);
  };
}

std::any laws(Text option, Text list) { return parse_laws(option, list); }
std::any numbers(Text option, Text list) { return parse_numbers(option, list); }
std::any words(Text option, Text list) { return split_list(option, list); }
std::any file(Text, Text path) { return std::filesystem::path(expand_home(path)); }
std::any file_needed(Text option, Text path) {
  auto const name = expand_home(path);
  if (name.empty()) throw UsageError(option, "", "is no file name");
  return std::filesystem::path(name);
}
std::any minutes(Text option, Text text) {
  double const value = std::strtod(text.c_str(), nullptr);
  // As long as a time of parse_duration may be.
  if (!(value >= 0.0 && 60.0 * value < 1e9)) throw UsageError(option, text, "is not a number of minutes from 0 to 16 million");
  return value;
}
std::any positive(Text option, Text text) {
  if (text.empty()) return std::optional<double>();
  double const value = std::strtod(text.c_str(), nullptr);
  if (!std::isfinite(value) || value <= 0.0) throw UsageError(option, text, "is not a positive number");
  return std::optional(value);
}

bool is_for_studies(Path const& path) { return path.whole(); }
bool is_for_attend(Path const& path) { return path.verbs.attention_in_pieces; }

/// `fused, blas-tile`: the paths that do all that is asked for.
std::string path_choices(bool (*takes)(Path const&), std::string const& between, bool explained) {
  std::string all;
  for (auto const* path : all_paths) {
    if (!takes(*path)) continue;
    all += (all.empty() ? "" : between) + path->name;
    if (explained) all += std::string(" (") + path->what + ")";
  }
  return all;
}

/// Null for `auto`.
template <bool (*takes)(Path const&)>
std::any path_or_none(Text option, Text name) {
  Path const* const path = find_path(name);
  if (name != name_of(path) || (path != nullptr && !takes(*path)))
    throw UsageError(option, name, "is none of: auto, " + path_choices(takes, ", ", false));
  return path;
}

std::vector<Option> rows() {
  static std::string const path_help = "auto | " + path_choices(is_for_studies, " | ", true) + "; part of a result's identity",
                           attend_path_help = "of exact attention and of the selection: auto | " +
                                              path_choices(is_for_attend, " | ", false) +
                                              "; on a GPU exact attention has numbers of its own, to 2e-6, the same for any number of "
                                              "ranks, and the selection those of fused";
  using enum OptionIdentity;
  using enum OptionKind;
  using enum BenchKernel;
  using K = KeyStorage;
  using M = MergeStrategy;
  auto constexpr of_studies = for_study | for_simulate, with_sigma = of_studies | for_attend | for_precision;
  auto constexpr most_entries = std::int64_t{1} << 30;
  auto const no_sizes = std::vector<std::int64_t>{};
  OptionReader const n_of_study = needed("context lengths such as 2^10:2^16", sizes(largest_n)),
                     n_of_simulation = needed("context lengths such as 2^10:2^16", sizes(largest_simulated_n)),
                     n_of_attention = needed("rows and keys such as 2^10:2^14", sizes(most_entries)),
                     n_of_rows = needed("entries of a row such as 2^10:2^20", sizes(most_entries));
  // name, commands, identity, kind, default, reader, help; then what differs for some commands
  return {
      Option{"help", for_all, unrecorded, set_apart, nullptr, {}, "print this and exit"}.in_short("h"),
      Option{"config", for_all, unrecorded, set_apart, nullptr, file,
             "INI file with the same names as these options; the command line wins"},
      Option{"output", for_all, unrecorded, text, "results.h5", file_needed, "results file; case files go to FILE.cases/ beside it"}
          .but(for_attend, "attend.h5", {}, "results file: errors, norms, timings and self-checks of every draw")
          .but(for_bench, "bench.h5", {}, "results file: every sample, verdict and yardstick")
          .but(for_precision, "precision.h5", {}, "results file")
          .in_short("o"),
      Option{"force", for_all, unrecorded, on, nullptr, {}, "replace existing results"}
          .but(for_attend, nullptr, {}, "replace existing files")
          .but(for_bench, nullptr, {}, "replace an existing results file")
          .but(for_precision, nullptr, {}, "replace an existing file"),
      Option{"resume", of_studies, unrecorded, on, nullptr, {}, "continue existing results: keep complete valid cases, run the rest"},
      Option{"checkpoint-minutes", of_studies, unrecorded, number, "5", minutes,
             "how often the draws so far of the cases in work are written down, and what is known of a long draw in work, for --resume; 0: "
             "whenever it can be"},
      Option{"json", for_all, unrecorded, text, "", file,
             "write tidy records to this file; - is stdout, and the table then goes to stderr"},
      Option{"dry-run",
             for_all,
             unrecorded,
             on,
             nullptr,
             {},
             "print the plan, cases with memory and work; measure and write nothing, but the plan as JSON where --json says"},
      Option{"machine", for_study, unrecorded, text, "",
             or_none(std::optional<AssumedMachine>(), [](Text, Text text) { return std::any(std::optional(parse_machine(text))); }),
             "with --dry-run: plan for other nodes than this one, e.g. nodes=4,ranks-per-node=2,threads=16,memory=256GB (of a node), "
             "and gpu-memory=141GB where each rank has a GPU for --path device"},
      Option{"case-files-only", for_study, unrecorded, on, nullptr, {}, "write the case files alone; `asymptop merge` joins them"},
      Option{"kernel", for_attend | for_bench, contents, text, "all",
             all_or<BenchKernel>({std::begin(all_bench_kernels), std::end(all_bench_kernels)},
                                 {score, profile, top_k, exact_attention, top_k_attention, normals, merge}),
             "score | profile | top-k | exact-attention | top-k-attention | all | normals | merge, LIST"}
          .but(for_attend, nullptr, all_or<BenchKernel>({exact_attention, top_k_attention}, {exact_attention, top_k_attention}),
               "exact-attention | top-k-attention | all, LIST"),
      Option{"n", for_all, case_id, text, "", n_of_study,
             "context lengths: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^20:4 (factor 4); 1 to 2^48"}
          .but(for_simulate, nullptr, n_of_simulation,
               "context lengths: 4096 | 4096,50000 | 2^10:2^60 (doubling) | 2^10:2^60:4 (factor 4); 1 to 2^62")
          .but(for_attend, nullptr, n_of_attention,
               "rows and keys: 4096 | 4096,50000 | 2^10:2^16 (doubling) | 2^10:2^16:4 (factor 4); 1 to 2^30")
          .but(for_bench, "2^20", sizes(largest_n), "keys: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^20:4 (factor 4); 1 to 2^48")
          .but(for_precision, nullptr, n_of_rows,
               "entries of a row: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^24:4 (factor 4); 1 to 2^30"),
      Option{"d", for_all & ~for_precision, case_id, text, "64", sizes(4096), "head dimensions, 1 to 4096 (synthetic input)"}
          .but(for_simulate, nullptr, {}, "head dimensions, which --R takes for the logit scale")
          .but(for_attend, nullptr, {}, "head dimensions, 1 to 4096, LIST")
          .but(for_bench, nullptr, {}, "head dimensions, 1 to 4096"),
      Option{"m", for_bench, case_id, text, "256", sizes(16384), "query rows, 1 (a decoding step) to 16384"},
      Option{
          "inputs", for_study, case_id, text, "",
          or_none(std::vector{InputKind{}}, [](Text, Text list) { return std::any(parse_inputs(list)); }),
          "what rows of synthetic keys and queries are distributed as [gaussian]: gaussian | uniform (bounded by sqrt(3)) | rademacher | "
          "sphere (norm sqrt(d)) | student:NU | ar1:RHO (correlated in time) | clusters:COUNT[:SPREAD] | needle:STRENGTH (a key planted "
          "for each query, its logit STRENGTH sigma_i over sqrt(2 log n) sigma_i); all but student with NU <= 2 have unit variance; "
          "src/draw/README.md has the formulas"},
      // Beyond its limit a row's profile needs over 10^6 bins and rounding a logit to fp32 changes its exponential by a percent (study,
      // attend); the exponential of a logit sigma z, known to sigma 2^-50, has fewer than six digits (simulate); differences leave the
      // range of fp16 (precision).
      Option{"sigma", with_sigma, case_id, text, "1", laws, "standard deviation of the logits, laws in n"}
          .at_most(for_study, 1000.0, false, "is the largest sigma at n = {n}; fp32 logits can be profiled up to sigma = 1000")
          .at_most(for_simulate, 1e9, false, "is the sigma of '{law}' at n = {n}; rows are simulated up to sigma = 10^9")
          .at_most(for_attend, 1000.0, true, "is over 1000 at n = {n}, more than fp32 logits can bear")
          .at_most(for_precision, 1000.0, true, "is over 1000 at n = {n}, more than differences of logits can bear in fp16"),
      Option{"R", of_studies, case_id, text, "", or_none(std::vector<Law>(), laws),
             "instead of --sigma: laws for R = B^2 |W|_F; sigma = scale * R / B^2 with B the largest coordinate, 1 where there is none"},
      Option{"scale", of_studies, quantity, number, nullptr, positive, "logit scale [1/sqrt(d)]"},
      Option{"k", for_all, contents, text, "64,n^0.5,n^0.75", laws, "keys kept by top-k attention, laws in n; rounded, clipped to n"}.but(
          for_bench, "1024", {}, "keys kept by kernels that select, laws in n; rounded, clipped to n"),
      Option{"selectors", for_study, case_id, text, "score", [](Text option, Text list) { return std::any(parse_selectors(option, list)); },
             "which keys are kept, NAME[:KEY=VALUE]..., LIST: score is exact top-k, --help-selector all lists the others, e.g. "
             "score,window:sinks=4,quest:page=16,quantised:fp8; each is a case beside the others"},
      Option{"share-selection", for_study, case_id, text, "head", one_of({ShareSelection::head, ShareSelection::group}),
             "with grouped queries: head (every query head chooses its keys) | group (heads that share a key head choose together)"},
      Option{"help-selector", for_study, unrecorded, text, "", {}, "say what a selector does and takes, or list all, and exit"},
      Option{"precision", for_precision, contents, text, "bf16; bf16:pairwise; bf16,sum=fp32; fp16:pairwise; fp16,sum=fp32; fp8,sum=fp32",
             [](Text, Text sets) { return std::any(parse_precision_sets(sets)); }, "sets of formats, see above"},
      Option{"rows", of_studies | for_precision, result, text, "64", integer(1, 1 << 20), "query rows per draw"}.but(for_precision, "4", {},
                                                                                                                     "rows per draw"),
      Option{"draws", with_sigma, result, text, "32", integer(1, 1 << 20),
             "independent draws of keys and queries: the replicates of every standard error"}
          .but(for_attend, "1", {}, "independent draws of queries, keys and values: the replicates of every standard error")
          .but(for_precision, "16", {}, "independent draws of rows: the replicates of every standard error"),
      Option{"target-se", of_studies, result, text, "",
             or_none(0.0, [](Text option, Text share) { return std::any(parse_share(option, share)); }),
             "e.g. 1%: go on after --draws until the standard error of every mean is at most so much of it, and say which are not"},
      Option{"target-metrics", of_studies, result, text, "",
             or_none(std::vector<std::string>(), [](Text option, Text list) { return std::any(split_list(option, list)); }),
             "metrics that --target-se counts, e.g. tail_mass,k_epsilon [all]"},
      Option{"max-time", of_studies, manner, text, "",
             or_none(0.0, [](Text option, Text time) { return std::any(parse_duration(option, time)); }),
             "e.g. 30m, 90s, 2h: add no draws for --target-se after that time; cases get shares of it as they are expected to take"},
      Option{"samples", for_bench, result, text, "10", integer(3, 10000), "timed repetitions of each case, at least 3"},
      Option{"seed", for_all, result, text, "1", integer(0, INT64_MAX), "seed of all draws"}.but(for_bench, nullptr, {},
                                                                                                 "seed of keys, values and queries"),
      Option{"row-sigma", for_study, quantity, text, "natural", one_of({RowSigma::natural, RowSigma::fixed}),
             "natural: each row's sigma varies with its query | fixed: every row at exactly sigma"},
      Option{"weights", for_study, quantity, text, "identity", one_of({Weights::identity, Weights::gaussian, Weights::product}),
             "W: identity | gaussian (d x d) | product (W_Q W_K^T of Gaussian factors)"},
      Option{"self", for_study, quantity, text, "exclude", one_of({SelfKey::exclude, SelfKey::include}),
             "whether a query's own key is among the keys: exclude | include"},
      Option{"input", for_study | for_attend | for_precision, result, text, "", file,
             "HDF5 file with Q, K and V, (n,d) or (heads,n,d), instead of synthetic input"}
          .but(for_attend, nullptr, {}, "HDF5 file with Q, K and V, (n,d) or (heads,n,d), instead of synthetic input; --n are prefixes")
          .but(for_precision, "", {}, "HDF5 file with Q and K, as study reads it, whose rows are taken instead of drawn ones"),
      Option{"heads", for_study | for_attend | for_precision, case_id, text, "", numbers, "heads of the file to study, e.g. 0,3 [all]"}.but(
          for_attend | for_precision, nullptr, {}, "heads of the file, e.g. 0,3 [all]"),
      Option{"layers", for_study | for_precision, case_id, text, "", numbers,
             "layers of a file of tensor_format 2 to study, e.g. 5,11 [all]"},
      Option{"window", for_study, case_id, text, "",
             [](Text option, Text keys) {
               return std::any(keys.empty() || keys == "model" ? std::optional<std::int64_t>()
                                                               : std::optional(parse_integer(option, keys, 0, largest_n)));
             },
             "keys that a query of tensor input sees, up to its own: a number, 0 for all | model (what a file of tensor_format 2 says) "
             "[model]"},
      Option{"drop-first", for_study, case_id, text, "", or_none(std::int64_t{0}, integer(0, most_entries)),
             "of tensor input, cases beside the others in which rows do not see the first S keys of their context, where sinks are [0]"},
      Option{"first-keys", for_study, quantity, text, "", or_none(std::int64_t{4}, integer(1, 1 << 20)),
             "of tensor input, the first keys of a context whose weight is measured, where sinks are [4]"},
      Option{"recent-keys", for_study, quantity, text, "", or_none(std::int64_t{64}, integer(1, 1 << 20)),
             "of tensor input, the keys up to a query's own whose weight is measured [64]"},
      Option{
          "contexts", for_study, of_case, text, "", maybe_one_of({Contexts::places, Contexts::starts, Contexts::prefix}),
          "which n keys of a text a draw of tensor input sees: starts (the first ones, as a model sees a context of n, rows in their last "
          "eighth, a draw for each text) | places (each draw's end elsewhere, rows in the last eighth; a text's first keys, and with them "
          "a model's sink, are in few) | prefix (the first ones, rows in their second half shared out among draws) [with tensor_format 2: "
          "starts from 4 texts on where each key has a query, else places; else prefix]"},
      Option{"mask", for_study | for_attend | for_precision, case_id, text, "none", one_of({Mask::none, Mask::causal}),
             "none | causal (tensor input: a query sees the keys up to its own); unless given, what a file of tensor_format 2 says"}
          .but(for_attend, nullptr, some_of({Mask::none, Mask::causal}), "none | causal (row i sees keys 0 to i), LIST"),
      Option{"spectral", for_attend, contents, on, nullptr, {}, "measure the norms of the difference matrix; needs top-k-attention"},
      Option{"iterations", for_attend, result, text, "200", integer(1, 100000), "most steps of the power iteration, 1 to 100000"},
      Option{"epsilon", of_studies, contents, text, "0.1,0.01", [](Text, Text list) { return std::any(parse_epsilons(list)); },
             "for k_epsilon: fewest keys kept with tail_mass <= epsilon; in (0, 1)"},
      Option{"count-above", of_studies | for_precision, contents, text, "1/n,1e-3,1e-2", laws,
             "thresholds on p whose exceedances are counted, laws in n"},
      Option{"output-error", for_study, result, text, "on", [](Text option, Text text) { return std::any(parse_switch(option, text)); },
             "on | off: measure the error of the attention output, which needs V"},
      Option{"hold", for_study, result, text, "0", integer(0, most_entries - 1),
             "largest k that is found by rank; the error at larger k is that of the exactly counted keys above a score near theirs; needs "
             "--output-error off. 0: as memory allows"},
      Option{"block", for_all & ~for_simulate, result, text, "4096", [](Text, Text text) { return std::any(parse_block(text)); },
             "keys per block, a power of two from 64; part of a result's identity"}
          .but(for_attend, nullptr, {}, "keys per block, a power of two from 64; ranks own whole blocks; part of a result's identity")
          .but(for_bench, nullptr, {}, "keys per block, a power of two from 64; ranks own whole blocks")
          .but(for_precision, "128", {}, "keys per block of a blocked sum, a power of two from 64; part of a result's identity"),
      Option{"keys", for_study | for_bench, manner, text, "auto", one_of({K::automatic, K::resident, K::streamed}),
             "auto | resident (keep the keys of a draw) | streamed (make or read them anew for each pass)"}
          .but(for_bench, "resident", some_of({K::resident, K::streamed}),
               "resident (in memory before the clock starts) | streamed (made anew within the timed work), LIST"),
      Option{"path", for_study | for_bench | for_attend, result, text, "auto", path_or_none<is_for_studies>, path_help.c_str()}
          .but(for_bench, nullptr, words, "auto (the kernel's first) | all | names, LIST; --path all --dry-run shows what there is")
          .but(for_attend, nullptr, path_or_none<is_for_attend>, attend_path_help.c_str()),
      Option{
          "merge", for_study | for_bench, manner, text, "auto", one_of({M::automatic, M::root, M::owner, M::tree, M::threshold}),
          "how ranks agree on the k largest: auto (fastest by estimate) | root (all lists to rank 0) | owner (lists to the rank that owns "
          "the row) | tree (pairwise) | threshold (owners find each row's k-th score first); the results are the same"}
          .but(for_bench, nullptr,
               all_or<M>({std::begin(all_merge_strategies), std::end(all_merge_strategies)},
                         {M::automatic, M::root, M::owner, M::tree, M::threshold, M::device}),
               "global selection of kernels that select: auto (fastest by estimate) | root | owner | tree | threshold | device (from GPU "
               "to GPU, of path device, where it is auto) | all (those of hosts), LIST"),
      Option{"scaling", for_bench, case_id, text, "none", one_of({Scaling::none, Scaling::strong, Scaling::weak}),
             "none | strong (--n keys in all) | weak (--n keys for each rank): every case on each count of ranks"},
      Option{"rank-counts", for_bench, case_id, text, "", or_none(no_sizes, sizes(1 << 20)),
             "counts of ranks to scale over, LIST with 1, or 1:8 (doubling); default: powers of two, and all ranks"},
      Option{"batch-rows", for_study, manner, text, "0", integer(0, 256),
             "query rows that pass over the keys together, 256 at most; with several ranks the messages of a batch hide behind another's "
             "passes. "
             "On BLAS tiles in 24s. 0: by the plan; the results are the same"},
      Option{"groups", for_study | for_attend, manner, text, "auto", [](Text, Text text) { return std::any(parse_groups(text)); },
             "auto | G: share the heads of tensor input out among G groups of ranks, each of which splits its heads' keys over its ranks"}
          .but(for_attend, nullptr, {},
               "auto | G: share heads, laws of sigma and draws out among G groups of ranks, each a ring of its own; auto: by the rows of "
               "the "
               "rank "
               "that has most, as memory allows. Rates are those of one group"),
      Option{
          "mpi-memory", for_study, manner, text, "host", one_of({MpiMemory::host, MpiMemory::device}),
          "host | device: whether a device's sums are copied to the host before they are sent, or sent by an MPI that reads device memory; "
          "the "
          "results are the same"},
      Option{"gpu", for_study | for_bench | for_attend, manner, text, "auto", one_of({GpuUse::own, GpuUse::shared}),
             "auto | shared: with --path device a rank takes the GPU of its place on the node, and two ranks are not given the same one "
             "unless "
             "they may share it"},
      Option{"threads", for_all, unrecorded, text, "0", integer(0, most_threads),
             "threads per rank; 0 takes OMP_NUM_THREADS, else the cores that the rank may use"},
      Option{"save-output", for_attend, unrecorded, text, "", file,
             "write all attention outputs, (n, d) for each case and draw, to this HDF5 file, all ranks at once"},
  };
}

}  // namespace

OptionTable const& option_table() {
  static OptionTable const table(rows());
  return table;
}

}  // namespace asymptop
