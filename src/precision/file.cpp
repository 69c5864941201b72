#include "precision/file.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "h5/h5.hpp"
#include "results/attributes.hpp"
#include "results/quantities.hpp"

namespace asymptop {
namespace {

std::vector<Quantity<MeasuredPrecision>> const& quantities() {
  using C = MeasuredPrecision const&;
  using Any = h5::AnyAttribute;
  static std::vector<Quantity<MeasuredPrecision>> const all{{"id", [](C c) -> Any { return c.item.id; }},
                                                            {"n", [](C c) -> Any { return c.item.n; }},
                                                            {"sigma_law", [](C c) -> Any { return c.item.sigma_law; }},
                                                            {"sigma", [](C c) -> Any { return c.item.sigma; }},
                                                            {"draws", [](C c) -> Any { return c.item.draws; }},
                                                            {"rows", [](C c) -> Any { return c.item.rows; }},
                                                            {"seed", [](C c) -> Any { return static_cast<std::int64_t>(c.config->seed); }},
                                                            {"block", [](C c) -> Any { return std::int64_t{c.config->block}; }},
                                                            {"k_clipped", [](C c) -> Any { return std::int64_t{c.item.k_clipped}; }},
                                                            {"seconds_total", [](C c) -> Any { return c.seconds_total; }},
                                                            {"verdict", [](C c) -> Any { return c.verdict(); }},
                                                            {"verdict_reason", [](C c) -> Any { return c.verdict_reason(); }}};
  return all;
}

std::vector<std::int64_t> numbered(std::int64_t count) {
  std::vector<std::int64_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

void write_scales(hid_t group, MeasuredPrecision const& c) {
  h5::write_scale(group, "draw", numbered(c.item.draws), "1", "independent draw of rows");
  h5::write_scale(group, "row", numbered(c.item.rows), "1", "row of a draw");
  auto const of_sets = [&](char const* name, char const* long_name, std::function<std::string(PrecisionSet const&)> const& get) {
    std::vector<std::string> values;
    for (auto const& set : c.config->precision) values.push_back(get(set));
    h5::write_scale(group, name, values, long_name);
  };
  of_sets("precision", "formats of the stages as given; the first is what the others are held against",
          [](auto const& s) { return s.text; });
  of_sets("order", "order of the sum of each set", [](auto const& s) { return std::string(name_of(s.order)); });
  of_sets("logits", "format of the logits", [](auto const& s) { return std::string(name_of(s.logits)); });
  of_sets("difference", "format of logits less the largest", [](auto const& s) { return std::string(name_of(s.difference)); });
  of_sets("exp", "format of the exponentials", [](auto const& s) { return std::string(name_of(s.exp)); });
  of_sets("sum", "format of the sum of the exponentials", [](auto const& s) { return std::string(name_of(s.sum)); });
  of_sets("p", "format of p as stored", [](auto const& s) { return std::string(name_of(s.p)); });
  h5::write_scale(group, "k", c.item.k, "keys", "keys kept by top-k attention");
  h5::write_scale(group, "k_law", c.item.k_law, "law of k in n");
  std::vector<std::string> thresholds;
  for (auto const& law : c.config->count_above) thresholds.push_back(law.text());
  h5::write_scale(group, "threshold", thresholds, "threshold on p, law in n");
}

void write_data(hid_t group, MeasuredPrecision const& c) {
  auto const& data = c.data;
  auto const length = [](auto const& values) { return values.size(); };
  std::size_t const draws = c.item.draws, rows = c.item.rows;
  h5::Dimension const draw{"draw", draws}, row{"row", rows}, set{"precision", length(c.config->precision)}, k{"k", length(c.item.k)},
      threshold{"threshold", length(c.item.threshold)};
  auto const per_row = [&](char const* name, auto const& values, char const* units, char const* long_name) {
    h5::write_dataset(group, name, {draw, row, set}, values, units, long_name);
  };
  per_row("normaliser", data.normaliser, "1", "Z, the sum of exponentials as made; infinite where the format overflowed");
  per_row("sum_p", data.sum_p, "1", "sum of the stored p, in fp64");
  per_row("sum_p_in_format", data.sum_p_in_format, "1", "sum of the stored p in the format and order of Z");
  per_row("entropy_nats", data.entropy_nats, "nat", "entropy of the stored p over their sum");
  per_row("participation_ratio", data.participation_ratio, "1", "square of the sum of the stored p over the sum of their squares");
  per_row("p_max", data.p_max, "1", "largest stored p");
  per_row("zeros", data.zeros, "entries", "stored p that are exactly 0");
  h5::write_dataset(group, "count_p_above", {draw, row, set, threshold}, data.count_p_above, "entries", "stored p above each threshold");
  h5::write_dataset(group, "tail_mass", {draw, row, set, k}, data.tail_mass, "1",
                    "share of the sum of the stored p that lies beyond the k largest of them");
  h5::write_dataset(group, "missed_mass", {draw, row, set, k}, data.missed_mass, "1",
                    "fp64 mass of the k largest entries less that of the k entries whose stored p are largest");
  h5::write_dataset(group, "k_of_law", {{"k_law", c.item.k_law.size()}}, c.item.k_of_law, "keys",
                    "k of each law at n, rounded and clipped to n");
  h5::write_dataset(group, "threshold_value", {threshold}, c.item.threshold, "1", "value of each threshold at n");
  if (c.item.captured)
    h5::write_dataset(group, "sigma_i", {draw, row}, data.sigma_i, "1", "standard deviation of the row's logits over its keys");
  write_checks(group, c.residuals(), "check_", "draws");
}

/// What else is known of rows of a tensor file.
void write_head(hid_t group, MeasuredPrecision const& c) {
  if (!c.item.captured) return;
  auto const& of = *c.item.captured;
  Attributes const to(group);
  to.text("input", c.input);
  to.integer("head", of.head);
  if (of.layer.layer >= 0) to.integer("layer", of.layer.layer);
  to.integer("d", of.layer.d);
  to.number("scale", of.scale);
  to.text("mask", name_of(of.mask));
  if (of.layer.form.softcap > 0.0) to.number("softcap", of.layer.form.softcap);
  if (!of.layer.form.alibi.empty()) to.number("alibi_slope", of.layer.form.alibi[of.head]);
}

}  // namespace

void MeasuredPrecision::settle_sigma() {
  if (!item.captured) return;
  double square = 0.0;
  for (double const sigma : data.sigma_i) square += sigma * sigma / int_size(data.sigma_i);
  item.sigma = std::sqrt(square);
}

std::vector<Residual> MeasuredPrecision::residuals() const {
  std::vector<Residual> all;
  for (std::size_t i = 0; i < precision_check_names.size(); ++i)
    all.push_back({precision_check_names[i], checks.worst.values[i], precision_check_tolerances[i]});
  std::vector<std::string> names;
  auto const look = [&](char const* name, std::vector<double> const& values) {
    if (!std::ranges::all_of(values, [](double value) { return std::isfinite(value); })) names.emplace_back(name);
  };
  // As they are judged row by row: an infinite Z is what its format does.
  look("sum_p", data.sum_p);
  look("sum_p_in_format", data.sum_p_in_format);
  look("entropy_nats", data.entropy_nats);
  look("participation_ratio", data.participation_ratio);
  look("p_max", data.p_max);
  look("tail_mass", data.tail_mass);
  look("missed_mass", data.missed_mass);
  all[static_cast<std::size_t>(PrecisionCheck::finite)].of = few_names(names);
  return all;
}

void write_precision_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredPrecision> const& cases) {
  write_cases(output, provenance, cases, [](hid_t group, MeasuredPrecision const& c) {
    write_attributes(group, quantities(), c);
    write_head(group, c);
    write_scales(group, c);
    write_data(group, c);
  });
}

}  // namespace asymptop
