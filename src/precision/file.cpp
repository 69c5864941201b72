#include "precision/file.hpp"

#include <functional>
#include <numeric>
#include <sstream>

#include "h5/h5.hpp"
#include "results/attributes.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace {

void write_attributes(hid_t group, MeasuredPrecision const& c) {
  Attributes const to(group);
  to.text("id", c.item.id);
  to.integer("n", c.item.n);
  to.text("sigma_law", c.item.sigma_law);
  to.number("sigma", c.item.sigma);
  to.integer("draws", c.config->draws);
  to.integer("rows", c.config->rows);
  to.integer("seed", static_cast<std::int64_t>(c.config->seed));
  to.integer("block", c.config->block);
  to.integer("k_clipped", c.item.k_clipped ? 1 : 0);
  to.number("seconds_total", c.seconds_total);
  to.text("verdict", c.verdict());
  to.text("verdict_reason", c.verdict_reason());
}

std::vector<std::int64_t> numbered(std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

void write_scales(hid_t group, MeasuredPrecision const& c) {
  h5::write_scale(group, "draw", numbered(c.config->draws), "1", "independent draw of rows");
  h5::write_scale(group, "row", numbered(c.config->rows), "1", "row of a draw");
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
  h5::write_scale(group, "check", std::vector<std::string>(precision_check_names.begin(), precision_check_names.end()), "self-check");
}

void write_data(hid_t group, MeasuredPrecision const& c) {
  auto const& data = c.data;
  auto const length = [](auto const& values) { return values.size(); };
  h5::Dimension const draw{"draw", static_cast<std::size_t>(c.config->draws)}, row{"row", static_cast<std::size_t>(c.config->rows)},
      set{"precision", length(c.config->precision)}, k{"k", length(c.item.k)}, threshold{"threshold", length(c.item.threshold)};
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
  h5::Dimension const check{"check", precision_check_names.size()};
  h5::write_dataset(group, "check_residual", {check}, std::vector<double>(c.checks.worst.begin(), c.checks.worst.end()), "1",
                    "worst residual over draws");
  h5::write_dataset(group, "check_tolerance", {check},
                    std::vector<double>(precision_check_tolerances.begin(), precision_check_tolerances.end()), "1",
                    "largest residual of a valid case");
}

}  // namespace

std::string MeasuredPrecision::verdict_reason() const {
  std::ostringstream reason;
  reason.precision(3);
  for (std::size_t i = 0; i < precision_check_names.size(); ++i) {
    if (checks.worst[i] <= precision_check_tolerances[i]) continue;
    reason << (reason.tellp() > 0 ? "; " : "") << precision_check_names[i] << " " << checks.worst[i] << " over "
           << precision_check_tolerances[i];
  }
  return reason.str();
}

void write_precision_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredPrecision> const& cases) {
  write_whole(output, [&](hid_t file) {
    write_provenance(file, provenance);
    auto const groups = h5::create_group(file, "cases");
    for (auto const& item : cases) {
      auto const group = h5::create_group(groups, item.item.id);
      write_attributes(group, item);
      write_scales(group, item);
      write_data(group, item);
    }
  });
}

}  // namespace asymptop
