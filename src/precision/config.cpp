#include "precision/config.hpp"

#include <algorithm>
#include <array>
#include <iostream>

#include "config/errors.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace po = boost::program_options;
namespace {

constexpr char const* introduction =
    "asymptop precision: what the precision of arithmetic does to softmax attention, against n.\n"
    "\n"
    "Rows of n independent N(0, sigma^2) logits, made in fp64. Each is turned into attention weights p once in fp64 and once for every\n"
    "set of formats, with every result rounded correctly (to nearest, ties to even; fp8 is OCP E4M3 and saturates at 448) to the format\n"
    "of its stage:\n"
    "\n"
    "  logits      the n logits s\n"
    "  difference  s - max s, from the rounded logits [the narrowest format that holds those of logits and exp]\n"
    "  exp         e^difference\n"
    "  sum         Z, the sum of the exponentials, which are rounded to this format first\n"
    "  p           e / Z, as stored\n"
    "\n"
    "On the stored p are measured, in fp64 and beside the fp64 values of the same rows: sum p, tail_mass at every k, effective entries,\n"
    "entries that became 0, and the mass that top-k attention misses when it selects by the stored p.\n"
    "\n"
    "  asymptop precision --n 2^10:2^20:4 --sigma 1,2 --precision 'bf16; bf16:pairwise; logits=bf16,sum=fp32; p=fp16' -o precision.h5\n"
    "\n"
    "A set is a format for all stages, STAGE=FORMAT for single ones, or both: 'bf16,sum=fp32'. Stages that are not named are fp64.\n"
    "Formats: fp64, fp32, bf16, fp16, fp8 (or e4m3). A sum's order follows a colon, 'bf16:pairwise', 'sum=bf16:blocked': sequential\n"
    "(one after another; the default), pairwise (a binary tree) or blocked (sequential in --block keys, pairwise over blocks, as tiled\n"
    "kernels do). A law is one expression in n. LAWS and LISTs are comma-separated, sets are separated by semicolons.\n";

po::options_description precision_options() {
  po::options_description options("Options", 118, 80);
  auto const text = [](char const* fallback) { return po::value<std::string>()->default_value(fallback); };
  add_common_options(options);
  auto add = options.add_options();
  add("output,o", text("precision.h5"), "results file");
  add("force", po::bool_switch(), "replace an existing file");
  add("dry-run", po::bool_switch(), "print the cases with memory and time; measure and write nothing");
  add("n", text(""), "entries of a row: 4096 | 4096,50000 | 2^10:2^20 (doubling) | 2^10:2^24:4 (factor 4); 1 to 2^30");
  add("sigma", text("1"), "standard deviation of the logits, laws in n");
  add("k", text("64,n^0.5,n^0.75"), "keys kept by top-k attention, laws in n; rounded, clipped to n");
  add("precision", text("bf16; bf16:pairwise; bf16,sum=fp32; fp16:pairwise; fp16,sum=fp32; fp8,sum=fp32"), "sets of formats, see above");
  add("rows", text("4"), "rows per draw");
  add("draws", text("16"), "independent draws of rows: the replicates of every standard error");
  add("seed", text("1"), "seed of all draws");
  add("count-above", text("1/n,1e-3,1e-2"), "thresholds on p whose exceedances are counted, laws in n");
  add("block", text("128"), "keys per block of a blocked sum, a power of two from 64; part of a result's identity");
  return options;
}

constexpr char const* formats_allowed = "is none of: fp64, fp32, bf16, fp16, fp8 (or e4m3)";

NumberFormat parse_format(std::string const& text) {
  if (text == "e4m3") return NumberFormat::fp8;
  for (auto const format : all_number_formats) {
    if (text == name_of(format)) return format;
  }
  throw UsageError("--precision", text, formats_allowed);
}

/// A format, and the order after its colon.
struct FormatAndOrder {
  NumberFormat format;
  std::optional<SumOrder> order;
};

FormatAndOrder parse_format_and_order(std::string const& text) {
  auto const colon = text.find(':');
  FormatAndOrder found{parse_format(text.substr(0, colon)), {}};
  if (colon != std::string::npos)
    found.order = choose("--precision", text.substr(colon + 1), {SumOrder::sequential, SumOrder::pairwise, SumOrder::blocked});
  return found;
}

struct Stage {
  char const* name;
  NumberFormat PrecisionSet::*format;
};
constexpr std::array<Stage, 5> stages = {{{"logits", &PrecisionSet::logits},
                                          {"difference", &PrecisionSet::difference},
                                          {"exp", &PrecisionSet::exp},
                                          {"sum", &PrecisionSet::sum},
                                          {"p", &PrecisionSet::p}}};

PrecisionSet parse_set(std::string const& text) {
  PrecisionSet set;
  set.text.clear();
  set.order = SumOrder::sequential;
  std::vector<std::string> named;
  for (auto const& item : split_list("--precision", text)) {
    auto const equals = item.find('=');
    bool const whole = equals == std::string::npos;
    if (whole && !set.text.empty())
      throw UsageError("--precision", text, "has '" + item + "' after other items; a format for all stages comes first");
    auto const value = parse_format_and_order(whole ? item : item.substr(equals + 1));
    auto const name = whole ? "" : item.substr(0, equals);
    auto const stage = std::find_if(stages.begin(), stages.end(), [&](Stage const& s) { return name == s.name; });
    if (!whole && stage == stages.end()) throw UsageError("--precision", item, "names none of the stages: logits, difference, exp, sum, p");
    if (std::find(named.begin(), named.end(), name) != named.end()) throw UsageError("--precision", text, "names " + name + " twice");
    if (value.order && !whole && name != "sum") throw UsageError("--precision", item, "has an order, which only a sum has");
    named.push_back(name);
    for (auto const& s : stages) {
      if (whole || &s == &*stage) set.*s.format = value.format;
    }
    if (value.order) set.order = *value.order;
    set.text += (set.text.empty() ? "" : ",") + (whole ? "" : name + "=") + name_of(value.format);
  }
  if (std::find(named.begin(), named.end(), "difference") == named.end()) set.difference = wider_of(set.logits, set.exp);
  return set;
}

}  // namespace

bool PrecisionSet::same_arithmetic(PrecisionSet const& other) const {
  return order == other.order &&
         std::all_of(stages.begin(), stages.end(), [&](Stage const& s) { return this->*s.format == other.*s.format; });
}

std::vector<PrecisionSet> parse_precision_sets(std::string const& text) {
  std::vector<PrecisionSet> sets = {PrecisionSet{}};
  for (std::size_t begin = 0; begin <= text.size();) {
    auto const end = std::min(text.find(';', begin), text.size());
    auto set = parse_set(text.substr(begin, end - begin));
    begin = end + 1;
    auto const same = std::find_if(sets.begin(), sets.end(), [&](PrecisionSet const& other) { return set.same_arithmetic(other); });
    if (same == sets.begin()) continue;  // measured anyway
    if (same != sets.end()) throw UsageError("--precision", text, "names " + set.text + ":" + name_of(set.order) + " twice");
    sets.push_back(std::move(set));
  }
  return sets;
}

std::optional<PrecisionConfig> parse_precision_options(int argc, char const* const* argv, bool print_help) {
  auto const options = precision_options();
  auto const values = read_options("precision", argc, argv, options);
  if (values.count("help") != 0) {
    if (print_help)
      std::cout << introduction << "\n"
                << options << "\nExit codes: 0 all valid, 1 a case INVALID or a failed run, 2 bad usage (nothing written).\n";
    return std::nullopt;
  }
  auto const text = [&](char const* name) { return values[name].as<std::string>(); };
  PrecisionConfig config;
  static_cast<MeasureOptions&>(config) = parse_measure_options(values);
  if (text("n").empty()) throw UsageError("--n is needed: entries of a row such as 2^10:2^20");
  config.n = parse_sizes("--n", text("n"), std::int64_t{1} << 30);
  config.sigma = parse_laws("--sigma", text("sigma"));
  config.k = parse_laws("--k", text("k"));
  config.count_above = parse_laws("--count-above", text("count-above"));
  config.precision = parse_precision_sets(text("precision"));
  config.rows = parse_integer("--rows", text("rows"), 1, 1 << 20);
  config.draws = parse_integer("--draws", text("draws"), 1, 1 << 20);
  return config;
}

}  // namespace asymptop
