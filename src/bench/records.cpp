#include "bench/records.hpp"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "results/json_text.hpp"

namespace asymptop {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// A dash for what was not measured.
std::string cell(char const* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return std::isfinite(value) ? text : "-";
}

/// Seconds of each phase: medians over samples of the least, the mean and the most over ranks.
Json phases_of(MeasuredCase const& c) {
  auto json = Json::object();
  auto const medians = c.phase_medians();
  for (std::size_t i = 0; i < medians.size(); ++i)
    json[c.result.phases[i]] = {{"min", medians[i].min}, {"mean", medians[i].mean}, {"max", medians[i].max}};
  return json;
}

constexpr char const* scaling_format = "%-15s %-10s %11s %5s %6s %8s %-8s %-9s %7s %11s %9s %8s %8s %8s %9s %8s  %s\n";
constexpr char const* row_format = "%-15s %-10s %11s %5s %6s %8s %-8s %7s %11s %9s %9s %8s %8s %7s %9s  %-9s %8s %8s  %s\n";

std::string phases_line(MeasuredCase const& c) {
  std::string line = "   ";
  auto const medians = c.phase_medians();
  for (std::size_t i = 0; i < medians.size(); ++i) {
    line += " " + c.result.phases[i] + " " + cell("%.3g", medians[i].min) + " / " + cell("%.3g", medians[i].mean) + " / " +
            cell("%.3g", medians[i].max) + (i + 1 < medians.size() ? "," : "\n");
  }
  return line;
}

}  // namespace

std::string bench_record(MeasuredCase const& c) {
  auto const statistics = c.result.statistics();
  Json json;
  json["kernel"] = name_of(c.item.kernel);
  json["n"] = c.item.n;
  json["d"] = c.item.d;
  json["m"] = c.item.m;
  json["k"] = c.item.k > 0 ? Json(c.item.k) : Json(nullptr);
  json["ranks"] = c.item.ranks;
  json["threads"] = c.threads;
  json["keys"] = c.item.resident ? "resident" : "streamed";
  json["path"] = c.item.path;
  json["median_seconds"] = statistics.median;
  json["iqr_seconds"] = statistics.iqr;
  json["gflops"] = number(c.gflops());
  json["sgemm_gflops"] = number(c.sgemm.best > 0.0 ? c.sgemm.best : NAN);
  json["share_of_sgemm"] = number(c.share_of_sgemm());
  json["peak_bytes"] = static_cast<std::int64_t>(c.result.peak_bytes);
  json["verdict"] = c.result.verdict();
  json["verdict_reason"] = c.result.reason();
  json["k_law"] = c.item.k > 0 ? Json(c.item.k_law) : Json(nullptr);
  json["samples"] = c.result.seconds;
  json["sgemm_kernel"] = c.sgemm.best_kernel;
  json["sgemm_default_gflops"] = number(c.sgemm.standard > 0.0 ? c.sgemm.standard : NAN);
  json["sgemm_default_kernel"] = c.sgemm.standard_kernel;
  json["fma_gflops"] = number(c.fma_gflops);
  json["gigabytes_per_second"] = number(c.gigabytes_per_second());
  json["read_bandwidth"] = number(c.read_bandwidth);
  json["share_of_bandwidth"] = number(c.gigabytes_per_second() / c.read_bandwidth);
  json["merge"] = c.item.k > 0 ? Json(name_of(c.item.merge)) : Json(nullptr);
  json["merge_seconds"] = c.result.merge.seconds;
  json["merge_exposed_seconds"] = c.result.merge.exposed_seconds;
  json["merge_bytes"] = c.result.merge.bytes;
  json["merge_bytes_per_rank"] = c.result.merge.bytes_per_rank;
  json["merge_messages"] = c.result.merge.messages;
  json["merge_rounds"] = c.result.merge.rounds;
  json["peak_bytes_per_rank"] = static_cast<std::int64_t>(c.result.peak_bytes_per_rank);
  json["nanoseconds_per_normal"] = number(c.nanoseconds_per_normal());
  json["phases"] = phases_of(c);
  json["load_imbalance"] = number(c.load_imbalance());
  json["write_seconds"] = number(c.write_seconds);
  bool const scales = c.scaling != Scaling::none;
  json["scaling"] = name_of(c.scaling);
  json["scaling_id"] = scales ? Json(c.scaling_id) : Json(nullptr);
  json["interleaved"] = scales ? Json(c.in_rounds) : Json(nullptr);
  json["speed_up"] = number(c.speed_up());
  json["efficiency"] = number(c.efficiency());
  json["efficiency_iqr"] = number(c.efficiency_iqr());
  return json_text(json);
}

std::string sgemm_line(int m, int d, SgemmRates const& rates) {
  char line[256];
  std::snprintf(line, sizeof line, "sgemm     m = %d, d = %d: best %.4g GFLOP/s (%s), by default %.4g (%s)", m, d, rates.best,
                rates.best_kernel.c_str(), rates.standard, rates.standard_kernel.c_str());
  std::string text = line;
  for (auto const& [type, rate] : rates.tried) text += "; " + type + " " + (rate > 0.0 ? cell("%.4g", rate) : "does not run");
  return text + "\n";
}

std::string bench_table_heading(Scaling scaling) {
  char line[256];
  if (scaling != Scaling::none) {
    std::snprintf(line, sizeof line, scaling_format, "kernel", "path", "n", "d", "m", "k", "keys", "merge", "r x t", "median s", "IQR s",
                  "speed-up", "effic %", "imbal %", "GFLOP/s", "% sgemm", "verdict");
    auto const formula = scaling == Scaling::strong ? "T1 / (p Tp)" : "T1 / Tp";
    return "efficiency is " + std::string(formula) + ", T1 the time of one rank in the same round; under each case: least / mean / most\n" +
           "seconds over its ranks in each phase, medians; in merge, ranks wait for the slowest\n\n" + line;
  }
  std::snprintf(line, sizeof line, row_format, "kernel", "path", "n", "d", "m", "k", "keys", "r x t", "median s", "IQR s", "GFLOP/s",
                "% sgemm", "GB/s", "% read", "peak MB", "merge", "merge s", "sent MB", "verdict");
  return line;
}

std::string bench_table_row(MeasuredCase const& c) {
  auto const statistics = c.result.statistics();
  auto const text = [](std::int64_t value) { return std::to_string(value); };
  auto const k = c.item.k > 0 ? text(c.item.k) : std::string("-"), layout = text(c.item.ranks) + " x " + text(c.threads);
  double const bytes = c.gigabytes_per_second();
  char line[320];
  std::string more;
  if (c.item.kernel == BenchKernel::normals) more += "    " + cell("%.3f", c.nanoseconds_per_normal()) + " ns of a core per number\n";
  if (!c.result.reason().empty()) more += "  INVALID: " + c.result.reason() + "\n";
  if (c.scaling != Scaling::none) {
    std::snprintf(line, sizeof line, scaling_format, name_of(c.item.kernel), c.item.path.c_str(), text(c.item.n).c_str(),
                  text(c.item.d).c_str(), text(c.item.m).c_str(), k.c_str(), c.item.resident ? "resident" : "streamed",
                  c.item.k > 0 ? name_of(c.item.merge) : "-", layout.c_str(), cell("%.5g", statistics.median).c_str(),
                  cell("%.2g", statistics.iqr).c_str(), cell("%.3f", c.speed_up()).c_str(), cell("%.1f", 100.0 * c.efficiency()).c_str(),
                  cell("%.1f", 100.0 * c.load_imbalance()).c_str(), cell("%.4g", c.gflops()).c_str(),
                  cell("%.1f", 100.0 * c.share_of_sgemm()).c_str(), c.result.verdict());
    return line + phases_line(c) + more;
  }
  std::snprintf(line, sizeof line, row_format, name_of(c.item.kernel), c.item.path.c_str(), text(c.item.n).c_str(), text(c.item.d).c_str(),
                text(c.item.m).c_str(), k.c_str(), c.item.resident ? "resident" : "streamed", layout.c_str(),
                cell("%.5g", statistics.median).c_str(), cell("%.2g", statistics.iqr).c_str(), cell("%.4g", c.gflops()).c_str(),
                cell("%.1f", 100.0 * c.share_of_sgemm()).c_str(), cell("%.3g", bytes).c_str(),
                cell("%.1f", 100.0 * bytes / c.read_bandwidth).c_str(), cell("%.0f", c.result.peak_bytes / 1e6).c_str(),
                c.item.k > 0 ? name_of(c.item.merge) : "-", c.item.k > 0 ? cell("%.2g", c.result.merge.seconds).c_str() : "-",
                c.item.k > 0 ? cell("%.3g", static_cast<double>(c.result.merge.bytes) / 1e6).c_str() : "-", c.result.verdict());
  return line + more;
}

}  // namespace asymptop
