#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "attend/file.hpp"
#include "results/json_text.hpp"
#include "results/quantities.hpp"
#include "results/text_table.hpp"
#include "row/estimate.hpp"

namespace asymptop {
namespace {

using Json = nlohmann::ordered_json;

/// A metric of each k, draw by draw.
struct PerK {
  char const* name;
  std::vector<double> values;  ///< (draws, k)
};

std::vector<PerK> metrics_of(MeasuredAttention const& c) {
  std::vector<PerK> metrics;
  auto const add = [&](char const* name, bool there, auto const& get) {
    if (!there) return;
    auto& values = metrics.emplace_back(PerK{name, {}}).values;
    for (auto const& draw : c.draws) {
      for (std::size_t h = 0; h < c.item.k.size(); ++h) values.push_back(get(draw, h));
    }
  };
  bool const norms = !c.draws.front().norms.empty();
  double const n = c.item.rows();
  add("output_error_relative", !c.draws.front().output_error.empty(), [](AttendDraw const& d, std::size_t h) { return d.output_error[h]; });
  add("spectral_error", norms, [n](AttendDraw const& d, std::size_t h) { return d.norms[h].spectral / n; });
  add("frobenius_error", norms, [n](AttendDraw const& d, std::size_t h) { return d.norms[h].frobenius / n; });
  add("largest_row_error", norms, [n](AttendDraw const& d, std::size_t h) { return d.norms[h].largest_row / n; });
  return metrics;
}

Json record(MeasuredAttention const& c, char const* metric, std::string const& parameter, std::string const& k_law, Estimate const& value) {
  Json json;
  json["n"] = c.item.n;
  json["d"] = c.item.d;
  json["sigma_law"] = c.item.sigma_law;
  json["sigma"] = c.item.sigma;
  if (c.item.head >= 0) json["head"] = c.item.head;
  json["mask"] = name_of(c.item.mask);
  add_estimate(json, metric, parameter, k_law, value);
  json["rows"] = c.item.n * std::ssize(c.draws);
  json["draws"] = c.draws.size();
  json["verdict"] = c.verdict();
  json["ranks"] = c.ranks;
  json["groups"] = c.teams;
  json["threads"] = c.threads;
  return json;
}

std::size_t column_of(AttendCase const& item, std::size_t law) {
  return std::lower_bound(item.k.begin(), item.k.end(), item.k_of_law[law]) - item.k.begin();
}

TextTable const& attend_columns() {
  static TextTable const columns({{"n", 10},
                                  {"d", 5},
                                  {"sigma law", -16, true},
                                  {"mask", -7},
                                  {"k law", -12, true},
                                  {"k", 9},
                                  {"out_rel", 11},
                                  {"spectral/n", 11},
                                  {"frob/n", 11},
                                  {"exact GF/s", 10},
                                  {"top-k GF/s", 10},
                                  {"peak MB", 8},
                                  {"verdict", -7, false, 2}},
                                 {"peak MB", "d", "frob/n", "spectral/n", "k law", "top-k GF/s"});
  return columns;
}

}  // namespace

std::vector<std::string> attend_records(MeasuredAttention const& c) {
  std::vector<std::string> records;
  auto const draws = c.draws.size(), width = c.item.k.size();
  for (auto const& metric : metrics_of(c)) {
    for (std::size_t law = 0; law < c.item.k_law.size(); ++law) {
      records.push_back(json_text(record(c, metric.name, std::to_string(c.item.k_of_law[law]), c.item.k_law[law],
                                         estimate(metric.values, draws, width, column_of(c.item, law)))));
    }
  }
  auto const time = [&](char const* seconds_name, char const* rate_name, double AttendDraw::*member, double gflops) {
    std::vector<double> seconds;
    for (auto const& draw : c.draws) seconds.push_back(draw.*member);
    if (!std::isfinite(gflops)) return;
    records.push_back(json_text(record(c, seconds_name, "", "", estimate(seconds, draws, 1, 0))));
    records.push_back(json_text(record(c, rate_name, "", "", {gflops, NAN})));
  };
  time("exact_attention_seconds", "exact_attention_gflops", &AttendDraw::exact_seconds, c.exact_gflops());
  time("top_k_attention_seconds", "top_k_attention_gflops", &AttendDraw::top_k_seconds, c.top_k_gflops());
  return records;
}

std::string attend_table_heading() { return attend_columns().heading(); }

std::string attend_table_rows(MeasuredAttention const& c) {
  std::string rows;
  auto const metrics = metrics_of(c);
  auto const mean = [&](char const* name, std::size_t column) {
    for (auto const& metric : metrics) {
      if (std::string(metric.name) == name) return estimate(metric.values, c.draws.size(), c.item.k.size(), column).mean;
    }
    return std::nan("");
  };
  auto const lines = std::max<std::size_t>(1, c.item.k_law.size());
  for (std::size_t law = 0; law < lines; ++law) {
    bool const selects = !c.item.k_law.empty();
    auto const column = selects ? column_of(c.item, law) : 0;
    rows += attend_columns().row({std::to_string(c.item.n), std::to_string(c.item.d), c.item.sigma_law, name_of(c.item.mask),
                                  selects ? c.item.k_law[law] : "-", selects ? std::to_string(c.item.k_of_law[law]) : "-",
                                  digits(mean("output_error_relative", column)), digits(mean("spectral_error", column)),
                                  digits(mean("frobenius_error", column)), digits(c.exact_gflops()), digits(c.top_k_gflops()),
                                  digits(c.peak_bytes_per_rank / 1e6, "%.0f"), c.verdict()});
  }
  if (!c.verdict_reason().empty()) rows += "  INVALID: " + c.verdict_reason() + "\n";
  return rows;
}

}  // namespace asymptop
