#include "study/files/records.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "config/number_text.hpp"
#include "results/json_text.hpp"
#include "results/text_table.hpp"
#include "study/files/draw_target.hpp"

namespace asymptop {
namespace {

nlohmann::json number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

}  // namespace

std::vector<Record> field_records(FieldValues const& data, FieldAxes const& axes, std::size_t draws, std::vector<Place> const& of_k,
                                  std::vector<Place> const& of_epsilon, std::vector<Place> const& of_threshold) {
  std::vector<Record> records;
  for (auto const* field : recorded_fields(data.fields())) {
    auto const places = field->axis == Axis::row       ? std::vector<Place>{{"", "", 0}}
                        : field->axis == Axis::k       ? of_k
                        : field->axis == Axis::epsilon ? of_epsilon
                                                       : of_threshold;
    data.each(axes, [&](RowField const& other, auto const& values) {
      if (&other != field) return;
      for (auto const& place : places)
        records.push_back({field->name, place.parameter, place.k_law, estimate(values, draws, axes.length(field->axis), place.column)});
    });
  }
  return records;
}

std::vector<Record> records_of(StudyCase const& c) {
  auto const& ks = c.group->k;
  std::vector<Place> of_k, of_epsilon, of_threshold;
  for (std::size_t law = 0; law < c.config->k.size(); ++law) {
    std::size_t const column = std::lower_bound(ks.begin(), ks.end(), c.group->k_of_law[law]) - ks.begin();
    of_k.push_back({std::to_string(ks[column]), c.config->k[law].text(), column});
  }
  for (auto const epsilon : c.config->epsilon) of_epsilon.push_back({shortest(epsilon), "", of_epsilon.size()});
  for (auto const& law : c.config->count_above) of_threshold.push_back({parameter_text(law.text()), "", of_threshold.size()});
  return field_records(c.data, c.axes(), c.draws(), of_k, of_epsilon, of_threshold);
}

std::vector<std::string> record_lines(StudyCase const& c) {
  std::vector<std::string> lines;
  for (auto const& record : records_of(c)) {
    nlohmann::ordered_json json;
    json["n"] = c.group->n;
    json["d"] = c.group->key_d();
    json["input"] = c.input;
    json["sigma_law"] = c.plan().sigma_law;
    json["sigma"] = c.sigma();
    if (c.group->layer >= 0) json["layer"] = c.group->layer;
    if (c.group->head >= 0) json["head"] = c.group->head;
    if (!c.group->texts.empty()) json["text"] = c.texts();
    if (c.group->window > 0) json["window"] = c.group->window;
    if (c.group->drop_first > 0) json["drop_first"] = c.group->drop_first;
    json["selector"] = c.plan().selector.text;
    json["metric"] = record.metric;
    json["parameter"] = record.parameter;
    json["k_law"] = record.k_law.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(record.k_law);
    json["mean"] = number(record.value.mean);
    json["standard_error"] = number(record.value.standard_error);
    json["rows"] = c.group->counts.rows * c.draws();
    json["draws"] = c.draws();
    json["verdict"] = c.verdict();
    lines.push_back(json_text(json));
  }
  return lines;
}

namespace {

TextTable const& table() {
  static TextTable const columns({{"n", 12},
                                  {"d", 5},
                                  {"sigma law", -18, true, 1, 44},
                                  {"sigma", 9},
                                  {"k law", -12, true, 2},
                                  {"k", 9},
                                  {"tail_mass", 10},
                                  {"+-", 10},
                                  {"row_l2", 10},
                                  {"row_linf", 10},
                                  {"out_rel", 10},
                                  {"GF/s", 7},
                                  {"sgemm", 7},
                                  {"verdict", -7}},
                                 {"sgemm", "GF/s", "row_linf", "row_l2", "d", "out_rel", "sigma", "k law"});
  return columns;
}

/// With a target: how many draws it took, or whose errors are over it.
std::string target_line(StudyCase const& c) {
  if (!c.config->has_target()) return "";
  auto const missed = missed_targets(c);
  auto const line = "             " + std::to_string(c.draws()) + " draws; ";
  if (missed.empty()) return line + "standard errors are within " + target_text(*c.config) + "\n";
  return line + "standard errors over " + target_text(*c.config) + ", " + why_ended(c) + ": " + joined(missed) + "\n";
}

}  // namespace

std::string table_heading() { return table().heading(); }

std::string table_rows(StudyCase const& c, double sgemm) {
  std::string rows;
  std::size_t const draws = c.draws();
  auto const& ks = c.group->k;
  for (std::size_t law = 0; law < c.config->k.size(); ++law) {
    std::size_t const column = std::lower_bound(ks.begin(), ks.end(), c.group->k_of_law[law]) - ks.begin();
    auto const tail = estimate(c.data.real("tail_mass"), draws, ks.size(), column);
    auto const mean = [&](RealField field) {
      return c.data.real(field).empty() ? NAN : estimate(c.data.real(field), draws, ks.size(), column).mean;
    };
    double const l2 = mean("row_l2_error"), linf = mean("row_linf_error"), out = mean("output_error_relative");
    auto sigma_law = c.group->head < 0 ? c.plan().sigma_law : "head " + std::to_string(c.group->head);
    if (c.group->layer >= 0) sigma_law = "layer " + std::to_string(c.group->layer) + " " + sigma_law;
    if (c.group->drop_first > 0) sigma_law += " drop " + std::to_string(c.group->drop_first);
    if (!c.group->input.is(Distribution::gaussian)) sigma_law = c.input + " " + sigma_law;
    if (!c.plan().selector.is_oracle()) sigma_law = c.plan().selector.text + " " + sigma_law;
    auto const rate = digits(c.group->simulated ? NAN : c.score_flops() / c.pass_seconds() / 1e9, "%.3g"),
               yardstick = digits(c.group->simulated ? NAN : sgemm, "%.3g");
    rows += table().row({std::to_string(c.group->n), std::to_string(c.group->key_d()), sigma_law, digits(c.sigma()),
                         c.config->k[law].text(), std::to_string(ks[column]), digits(tail.mean), digits(tail.standard_error, "%.2g"),
                         digits(l2), digits(linf), digits(out), rate, yardstick, c.verdict()});
  }
  rows += target_line(c);
  if (!c.verdict_reason().empty()) rows += "             INVALID: " + c.verdict_reason() + "\n";
  return rows;
}

}  // namespace asymptop
