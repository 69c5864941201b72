#include "study/files/records.hpp"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "results/json_text.hpp"
#include "study/files/draw_target.hpp"

namespace asymptop {
namespace {

nlohmann::json number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

}  // namespace

std::vector<Record> records_of(StudyCase const& c) {
  std::vector<Record> records;
  auto const draws = static_cast<std::size_t>(c.draws());
  auto const& ks = c.group->k;
  auto const per_row = [&](char const* metric, std::vector<double> const& values) {
    records.push_back({metric, "", "", estimate(values, draws, 1, 0)});
  };
  auto const per_k = [&](char const* metric, std::vector<double> const& values) {
    if (values.empty()) return;
    for (std::size_t law = 0; law < c.config->k.size(); ++law) {
      auto const column = static_cast<std::size_t>(std::lower_bound(ks.begin(), ks.end(), c.group->k_of_law[law]) - ks.begin());
      records.push_back({metric, std::to_string(ks[column]), c.config->k[law].text(), estimate(values, draws, ks.size(), column)});
    }
  };
  per_k("tail_mass", c.data.tail_mass);
  per_k("row_l2_error", c.data.row_l2_error);
  per_k("row_linf_error", c.data.row_linf_error);
  per_k("output_error_relative", c.data.output_error_relative);
  per_k("output_error", c.data.output_error);
  for (std::size_t i = 0; i < c.config->epsilon.size(); ++i) {
    records.push_back({"k_epsilon", shortest(c.config->epsilon[i]), "", estimate(c.data.k_epsilon, draws, c.config->epsilon.size(), i)});
  }
  for (std::size_t i = 0; i < c.config->count_above.size(); ++i) {
    records.push_back({"count_p_above", parameter_text(c.config->count_above[i].text()), "",
                       estimate(c.data.count_p_above, draws, c.config->count_above.size(), i)});
  }
  per_row("entropy_nats", c.data.entropy_nats);
  per_row("sum_p_squared", c.data.sum_p_squared);
  per_row("p_max", c.data.p_max);
  per_row("participation_ratio", c.data.participation_ratio);
  return records;
}

std::vector<std::string> record_lines(StudyCase const& c) {
  std::vector<std::string> lines;
  for (auto const& record : records_of(c)) {
    nlohmann::ordered_json json;
    json["n"] = c.group->n;
    json["d"] = c.group->d;
    json["input"] = c.input;
    json["sigma_law"] = c.plan().sigma_law;
    json["sigma"] = c.sigma();
    if (c.group->head >= 0) json["head"] = c.group->head;
    json["metric"] = record.metric;
    json["parameter"] = record.parameter;
    json["k_law"] = record.k_law.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(record.k_law);
    json["mean"] = number(record.value.mean);
    json["standard_error"] = number(record.value.standard_error);
    json["rows"] = c.config->rows * c.draws();
    json["draws"] = c.draws();
    json["verdict"] = c.verdict();
    lines.push_back(json_text(json));
  }
  return lines;
}

std::string table_heading() {
  char line[256];
  std::snprintf(line, sizeof line, "%12s %5s %-18s %9s  %-12s %9s %10s %10s %10s %10s %10s %7s %7s %s\n", "n", "d", "sigma law", "sigma",
                "k law", "k", "tail_mass", "+-", "row_l2", "row_linf", "out_rel", "GF/s", "sgemm", "verdict");
  return line;
}

namespace {

/// Four digits, or a dash for what was not measured.
std::string digits(double value, int count = 4) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", count, value);
  return std::isfinite(value) ? text : "-";
}

/// With a target: how many draws it took, or whose errors are over it.
std::string target_line(StudyCase const& c) {
  if (c.config->target_se <= 0.0) return "";
  auto const missed = missed_targets(c);
  auto const line = "             " + std::to_string(c.draws()) + " draws; ";
  if (missed.empty()) return line + "standard errors are within " + digits(100.0 * c.config->target_se) + "%\n";
  return line + "standard errors over " + digits(100.0 * c.config->target_se) + "%: " + joined(missed) + "\n";
}

}  // namespace

std::string table_rows(StudyCase const& c, double sgemm) {
  std::string rows;
  auto const draws = static_cast<std::size_t>(c.draws());
  auto const& ks = c.group->k;
  double pass = 0.0;
  for (auto const& draw : c.phase_seconds) pass += draw[static_cast<std::size_t>(Phase::first_pass)];
  for (std::size_t law = 0; law < c.config->k.size(); ++law) {
    auto const column = static_cast<std::size_t>(std::lower_bound(ks.begin(), ks.end(), c.group->k_of_law[law]) - ks.begin());
    auto const tail = estimate(c.data.tail_mass, draws, ks.size(), column);
    double const l2 = estimate(c.data.row_l2_error, draws, ks.size(), column).mean,
                 linf = estimate(c.data.row_linf_error, draws, ks.size(), column).mean;
    double const out = c.data.output_error_relative.empty() ? NAN : estimate(c.data.output_error_relative, draws, ks.size(), column).mean;
    auto sigma_law = c.group->head < 0 ? c.plan().sigma_law : "head " + std::to_string(c.group->head);
    if (!c.group->input.is(Distribution::gaussian)) sigma_law = c.input + " " + sigma_law;
    auto const rate = digits(c.group->simulated ? NAN : c.score_flops() / pass / 1e9, 3),
               yardstick = digits(c.group->simulated ? NAN : sgemm, 3);
    char line[256];
    std::snprintf(line, sizeof line, "%12lld %5lld %-18.18s %9.4g  %-12.12s %9lld %10s %10s %10s %10s %10s %7s %7s %s\n",
                  static_cast<long long>(c.group->n), static_cast<long long>(c.group->d), sigma_law.c_str(), c.sigma(),
                  c.config->k[law].text().c_str(), static_cast<long long>(ks[column]), digits(tail.mean).c_str(),
                  digits(tail.standard_error, 2).c_str(), digits(l2).c_str(), digits(linf).c_str(), digits(out).c_str(), rate.c_str(),
                  yardstick.c_str(), c.verdict());
    rows += line;
  }
  rows += target_line(c);
  if (!c.verdict_reason().empty()) rows += "             INVALID: " + c.verdict_reason() + "\n";
  return rows;
}

}  // namespace asymptop
