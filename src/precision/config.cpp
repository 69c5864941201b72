#include "precision/config.hpp"

#include "config/errors.hpp"
#include "config/measure_options.hpp"
#include "config/options.hpp"

namespace asymptop {
namespace {

constexpr char const* precision_introduction =
    "asymptop precision: what the precision of arithmetic does to softmax attention, against n.\n"
    "\n"
    "Rows of n independent N(0, sigma^2) logits, made in fp64, or with --input those of heads of a model. Each is turned into attention\n"
    "weights p once in fp64 and once for every set of formats, with every result rounded correctly (to nearest, ties to even; fp8 is OCP\n"
    "E4M3 and saturates at 448) to the format of its stage:\n"
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
    "  asymptop precision --input tensors.h5 --layers 5 --heads 0,3 --n 2^10:2^15 -o heads.h5   every row sees n keys, up to its own\n"
    "\n"
    "A set is a format for all stages, STAGE=FORMAT for single ones, or both: 'bf16,sum=fp32'. Stages that are not named are fp64.\n"
    "Formats: fp64, fp32, bf16, fp16, fp8 (or e4m3). A sum's order follows a colon, 'bf16:pairwise', 'sum=bf16:blocked': sequential\n"
    "(one after another; the default), pairwise (a binary tree) or blocked (sequential in --block keys, pairwise over blocks, as tiled\n"
    "kernels do). A law is one expression in n. LAWS and LISTs are comma-separated, sets are separated by semicolons.\n";

}  // namespace

std::optional<PrecisionConfig> parse_precision_options(int argc, char const* const* argv, bool print_help) {
  auto const values = option_table().read(for_precision, argc, argv);
  if (help_printed(values, for_precision, precision_introduction, print_help)) return std::nullopt;
  PrecisionConfig config;
  MeasureOptions& common = config;
  common = measure_options(values);
  config.n = values.get<std::vector<std::int64_t>>("n");
  config.sigma = values.get<std::vector<Law>>("sigma");
  config.k = values.get<std::vector<Law>>("k");
  config.count_above = values.get<std::vector<Law>>("count-above");
  config.precision = values.get<std::vector<PrecisionSet>>("precision");
  config.rows = values.get<std::int64_t>("rows");
  config.draws = values.get<std::int64_t>("draws");
  config.layers = values.get<std::vector<std::int64_t>>("layers");
  config.heads = values.get<std::vector<std::int64_t>>("heads");
  if (values.given("mask")) config.mask = values.get<Mask>("mask");
  if (!config.input.empty() && values.given("sigma"))
    throw UsageError("--sigma", values.text("sigma"), "applies to rows that are drawn, not to --input");
  for (auto const* name : {"layers", "heads", "mask"}) {
    if (config.input.empty() && values.given(name)) throw UsageError("--" + std::string(name) + " needs --input");
  }
  return config;
}

}  // namespace asymptop
