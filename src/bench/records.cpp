#include "bench/records.hpp"

#include <nlohmann/json.hpp>

#include "bench/quantities.hpp"
#include "config/number_text.hpp"
#include "results/json_text.hpp"
#include "results/text_table.hpp"

namespace asymptop {
namespace {

using Json = nlohmann::ordered_json;

/// Seconds of each phase: medians over samples of the least, the mean and the most over ranks.
Json phases_of(MeasuredCase const& c) {
  auto json = Json::object();
  auto const medians = c.phase_medians();
  for (std::size_t i = 0; i < medians.size(); ++i)
    json[c.result.phases[i]] = {{"min", medians[i].min}, {"mean", medians[i].mean}, {"max", medians[i].max}};
  return json;
}

TextTable const& table_of(Scaling scaling) {
  static TextTable const plain({{"kernel", -15},
                                {"path", -11},
                                {"n", 11},
                                {"d", 5},
                                {"m", 6},
                                {"k", 8},
                                {"keys", -8},
                                {"r x t", 7},
                                {"median s", 11},
                                {"IQR s", 9},
                                {"GFLOP/s", 9},
                                {"% sgemm", 8},
                                {"GB/s", 8},
                                {"% read", 7},
                                {"peak MB", 9},
                                {"merge", -9, false, 2},
                                {"merge s", 8},
                                {"sent MB", 8},
                                {"verdict", -7, false, 2}},
                               {"sent MB", "merge s", "merge", "peak MB", "% read", "GB/s", "keys", "d", "m", "IQR s", "r x t", "path"});
  static TextTable const scaled({{"kernel", -15},
                                 {"path", -11},
                                 {"n", 11},
                                 {"d", 5},
                                 {"m", 6},
                                 {"k", 8},
                                 {"keys", -8},
                                 {"merge", -9},
                                 {"r x t", 7},
                                 {"median s", 11},
                                 {"IQR s", 9},
                                 {"speed-up", 8},
                                 {"effic %", 8},
                                 {"imbal %", 8},
                                 {"GFLOP/s", 9},
                                 {"% sgemm", 8},
                                 {"verdict", -7, false, 2}},
                                {"keys", "d", "m", "% sgemm", "GFLOP/s", "IQR s", "path", "imbal %", "k", "speed-up"});
  return scaling == Scaling::none ? plain : scaled;
}

std::string phases_line(MeasuredCase const& c) {
  std::string line = "   ";
  auto const medians = c.phase_medians();
  for (std::size_t i = 0; i < medians.size(); ++i) {
    line += " " + c.result.phases[i] + " " + digits(medians[i].min, "%.3g") + " / " + digits(medians[i].mean, "%.3g") + " / " +
            digits(medians[i].max, "%.3g") + (i + 1 < medians.size() ? "," : "\n");
  }
  return line;
}

/// What a row costs beside the attention over its keys.
std::string merge_line(MeasuredCase const& c) {
  double const combine = 1e6 * c.result.merge.combine_seconds / c.item.m, agree = 1e6 * c.result.merge.seconds / c.item.m - combine;
  std::string const combined = digits(combine) + " us to combine outputs\n";
  if (!c.item.selects_over_ranks()) return "    a row: each rank selects alone; " + combined;
  return "    a row: " + digits(agree) + " us to agree on its keys, " + combined.substr(0, combined.size() - 1) + "; both are " +
         digits((agree + combine) / combine, "%.3g") + " times the combine alone\n";
}

}  // namespace

std::string bench_record(MeasuredCase const& c) {
  Json json;
  add_members(json, bench_quantities(c), c);
  json["samples"] = c.result.seconds;
  json["phases"] = phases_of(c);
  json["interleaved"] = c.scaling == Scaling::none ? Json(nullptr) : Json(c.in_rounds);
  return json_text(json);
}

std::string sgemm_line(int m, int d, SgemmRates const& rates) {
  auto text = formatted("sgemm     m = %d, d = %d: best %.4g GFLOP/s (%s), by default %.4g (%s)", m, d, rates.best,
                        rates.best_kernel.c_str(), rates.standard, rates.standard_kernel.c_str());
  for (auto const& [type, rate] : rates.tried) text += "; " + type + " " + (rate > 0.0 ? digits(rate, "%.4g") : "does not run");
  return text + "\n";
}

std::string bench_table_heading(Scaling scaling) {
  if (scaling == Scaling::none) return table_of(scaling).heading();
  auto const formula = scaling == Scaling::strong ? "T1 / (p Tp)" : "T1 / Tp";
  return "efficiency is " + std::string(formula) + ", T1 the time of one rank in the same round; under each case: least / mean / most\n" +
         "seconds over its ranks in each phase, medians; in merge, ranks wait for the slowest\n\n" + table_of(scaling).heading();
}

std::string bench_table_row(MeasuredCase const& c) {
  auto const statistics = c.result.statistics();
  auto const text = [](std::int64_t value) { return std::to_string(value); };
  bool const selects = c.item.k > 0, scales = c.scaling != Scaling::none;
  std::string const merge = c.item.selects_over_ranks() ? name_of(c.item.merge) : "-";
  double const bytes = c.gigabytes_per_second();
  std::vector<std::string> cells{name_of(c.item.kernel),
                                 c.item.path,
                                 text(c.item.n),
                                 text(c.item.d),
                                 text(c.item.m),
                                 selects ? text(c.item.k) : "-",
                                 c.item.resident ? "resident" : "streamed"};
  auto const add = [&](std::vector<std::string> const& more) { cells.insert(cells.end(), more.begin(), more.end()); };
  if (scales) add({merge});
  add({text(c.item.ranks) + " x " + text(c.threads), digits(statistics.median, "%.5g"), digits(statistics.iqr, "%.2g")});
  if (scales) add({digits(c.speed_up(), "%.3f"), digits(100.0 * c.efficiency(), "%.1f"), digits(100.0 * c.load_imbalance(), "%.1f")});
  add({digits(c.gflops()), digits(100.0 * c.share_of_sgemm(), "%.1f")});
  if (!scales) {
    add({digits(bytes, "%.3g"), digits(100.0 * bytes / c.read_bandwidth, "%.1f"), digits(c.result.peak_bytes / 1e6, "%.0f"), merge,
         selects ? digits(c.result.merge.seconds, "%.2g") : "-", selects ? digits(exact_double(c.result.merge.bytes) / 1e6, "%.3g") : "-"});
  }
  add({c.result.verdict()});
  auto line = table_of(c.scaling).row(cells);
  if (scales) line += phases_line(c);
  if (c.item.kernel == BenchKernel::normals) line += "    " + digits(c.nanoseconds_per_normal(), "%.3f") + " ns of a core per number\n";
  if (c.item.kernel == BenchKernel::merge) line += merge_line(c);
  if (!c.result.reason().empty()) line += "  INVALID: " + c.result.reason() + "\n";
  return line;
}

}  // namespace asymptop
