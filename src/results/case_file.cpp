#include "results/case_file.hpp"

#include <cmath>
#include <filesystem>
#include <sstream>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "results/draw_target.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

std::vector<std::int64_t> count_up(std::size_t length) {
  std::vector<std::int64_t> values(length);
  for (std::size_t i = 0; i < length; ++i) values[i] = static_cast<std::int64_t>(i);
  return values;
}

std::vector<std::string> law_texts(std::vector<Law> const& laws) {
  std::vector<std::string> texts;
  for (auto const& law : laws) texts.push_back(law.text());
  return texts;
}

void write_attributes(hid_t group, StudyCase const& c) {
  auto const& config = *c.config;
  auto const text = [&](char const* name, std::string const& value) { h5::write_attribute(group, name, value); };
  auto const integer = [&](char const* name, std::int64_t value) { h5::write_attribute(group, name, value); };
  auto const number = [&](char const* name, double value) { h5::write_attribute(group, name, value); };
  text("id", c.plan().id);
  integer("n", c.group->n);
  integer("d", c.group->d);
  text("sigma_law", c.plan().sigma_law);
  number("sigma", c.sigma());
  double const bound = c.group->input.coordinate_bound(c.group->d);
  number("R", c.sigma() / c.group->scale * (bound * bound));
  number("scale", c.group->scale);
  integer("draws", c.draws());
  integer("rows", config.rows);
  integer("seed", static_cast<std::int64_t>(config.seed));
  integer("block", config.block);
  text("input", c.input);
  integer("head", c.group->head);
  text("row_sigma", name_of(config.row_sigma));
  text("weights", name_of(config.weights));
  text("self", c.group->head < 0 ? name_of(config.self) : "include");
  text("mask", name_of(config.mask));
  integer("k_clipped", c.group->k_clipped ? 1 : 0);
  integer("k_held", c.group->held);
  if (config.target_se > 0.0) {
    number("target_se", config.target_se);
    text("target_missed", joined(missed_targets(c)));
  }
  text("verdict", c.verdict());
  text("verdict_reason", c.verdict_reason());
  bool const simulated = c.group->simulated;
  text("keys", simulated ? "none" : c.group->resident ? "resident" : "streamed");
  text("merge", simulated ? "none" : name_of(c.group->merge));
  text("path", simulated ? "order-statistics" : c.group->fused ? "fused" : "blas-tile");
  double pass = 0.0;
  for (auto const& draw : c.phase_seconds) pass += draw[static_cast<std::size_t>(Phase::first_pass)];
  number("seconds_total", c.seconds_total);
  number("seconds_pass", pass);
  number("gflop", c.score_flops() / 1e9);
}

void write_scales(hid_t group, StudyCase const& c) {
  auto const& config = *c.config;
  h5::write_scale(group, "draw", count_up(static_cast<std::size_t>(c.draws())), "1", "independent draw of keys and queries");
  h5::write_scale(group, "row", count_up(static_cast<std::size_t>(config.rows)), "1", "query row within a draw");
  h5::write_scale(group, "k", c.group->k, "keys", "keys kept by top-k attention");
  h5::write_scale(group, "epsilon", config.epsilon, "1", "tail mass allowed in k_epsilon");
  h5::write_scale(group, "threshold", law_texts(config.count_above), "threshold on p of count_p_above, as given");
  h5::write_scale(group, "k_law", law_texts(config.k), "law of k in n");
  std::vector<std::string> checks(check_names.begin(), check_names.end()), phases(phase_names.begin(), phase_names.end());
  h5::write_scale(group, "check", checks, "self-check");
  h5::write_scale(group, "phase", phases, "phase of a draw");
}

void write_data(hid_t group, StudyCase const& c) {
  auto const& data = c.data;
  h5::Dimension const draw{"draw", static_cast<std::size_t>(c.draws())}, row{"row", static_cast<std::size_t>(c.config->rows)};
  h5::Dimension const k{"k", c.group->k.size()}, epsilon{"epsilon", c.config->epsilon.size()},
      threshold{"threshold", c.config->count_above.size()};
  auto const put = [&](char const* name, std::vector<h5::Dimension> const& dimensions, auto const& values, char const* units,
                       char const* long_name) { h5::write_dataset(group, name, dimensions, values, units, long_name); };
  put("k_of_law", {{"k_law", c.config->k.size()}}, c.group->k_of_law, "keys", "k of each law at n, rounded and clipped to n");
  put("threshold_value", {threshold}, c.group->threshold, "1", "value of each threshold at n");
  put("row_n", {draw, row}, data.row_n, "keys", "keys that the row sees");
  put("row_position", {draw, row}, data.row_position, "1", "position of the query in the sequence, -1 when not in it");
  put("sigma_i", {draw, row}, data.sigma_i, "1", "standard deviation of the row's logits over keys");
  put("logit_mean", {draw, row}, data.logit_mean, "1", "mean of the row's logits");
  put("logit_std", {draw, row}, data.logit_std, "1", "sample standard deviation of the row's logits");
  put("logit_max", {draw, row}, data.logit_max, "1", "largest logit of the row");
  put("log_sum_exp", {draw, row}, data.log_sum_exp, "1", "log of the sum of exp(logit)");
  put("entropy_nats", {draw, row}, data.entropy_nats, "nat", "entropy of p");
  put("sum_p_squared", {draw, row}, data.sum_p_squared, "1", "sum of p^2");
  put("p_max", {draw, row}, data.p_max, "1", "largest p");
  put("participation_ratio", {draw, row}, data.participation_ratio, "keys", "1 / sum of p^2");
  if (c.group->by_thresholds()) {
    put("k_counted", {draw, row, k}, data.k_counted, "keys", "keys that the errors at k are those of: k itself up to k_held");
    put("k_counted_bound", {draw, row, k}, data.k_counted_bound, "1", "bound on |tail_mass at k - tail_mass at k_counted|");
  }
  put("tail_mass", {draw, row, k}, data.tail_mass, "1", "1 - sum of the k largest p");
  put("row_l2_error", {draw, row, k}, data.row_l2_error, "1", "2-norm of p - p_hat");
  put("row_linf_error", {draw, row, k}, data.row_linf_error, "1", "maximum norm of p - p_hat");
  if (!data.output_error.empty()) {
    put("output_error", {draw, row, k}, data.output_error, "1", "2-norm of (p - p_hat) V");
    put("output_error_relative", {draw, row, k}, data.output_error_relative, "1", "2-norm of (p - p_hat) V over that of p V");
  }
  put("k_epsilon", {draw, row, epsilon}, data.k_epsilon, "keys", "smallest k with tail_mass <= epsilon");
  put("count_p_above", {draw, row, threshold}, data.count_p_above, "keys", "entries with p > threshold");
  auto const tolerance = check_tolerances(c.group->d, c.largest_logit());
  put("check_residual", {{"check", check_names.size()}}, std::vector<double>(c.checks.worst.begin(), c.checks.worst.end()), "1",
      "worst residual over draws");
  put("check_tolerance", {{"check", check_names.size()}}, std::vector<double>(tolerance.begin(), tolerance.end()), "1",
      "largest residual of a valid case");
  std::vector<double> seconds;
  for (auto const& times : c.phase_seconds) seconds.insert(seconds.end(), times.begin(), times.end());
  put("phase_seconds", {draw, {"phase", phase_names.size()}}, seconds, "s", "wall time of the slowest rank");
}

/// The options that a case's numbers depend on.
std::string options_of_case(std::string const& config_text) {
  std::istringstream in(config_text);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    auto const name = line.substr(0, line.find(" = "));
    if (name != "n" && name != "d" && name != "inputs" && name != "max-time" && name != "heads" && name != "keys" && name != "merge" &&
        name != "groups")
      kept += line + "\n";
  }
  return kept;
}

/// Fills data, checks and timings. Throws RunError where something is missing or of another size.
double load_case(std::string const& path, StudyCase& study_case) {
  auto const file = h5::open_file(path);
  auto const group = h5::open_group(file, "cases/" + study_case.plan().id);
  auto& data = study_case.data;
  auto const integers = [&](char const* name) { return h5::read_dataset(group, name).integers; };
  auto const numbers = [&](char const* name) { return h5::read_dataset(group, name).numbers; };
  data.row_n = integers("row_n");
  data.row_position = integers("row_position");
  data.sigma_i = numbers("sigma_i");
  data.logit_mean = numbers("logit_mean");
  data.logit_std = numbers("logit_std");
  data.logit_max = numbers("logit_max");
  data.log_sum_exp = numbers("log_sum_exp");
  data.entropy_nats = numbers("entropy_nats");
  data.sum_p_squared = numbers("sum_p_squared");
  data.p_max = numbers("p_max");
  data.participation_ratio = numbers("participation_ratio");
  data.tail_mass = numbers("tail_mass");
  data.row_l2_error = numbers("row_l2_error");
  data.row_linf_error = numbers("row_linf_error");
  if (h5::has_link(group, "output_error")) {
    data.output_error = numbers("output_error");
    data.output_error_relative = numbers("output_error_relative");
  }
  data.k_epsilon = integers("k_epsilon");
  data.count_p_above = integers("count_p_above");
  if (h5::has_link(group, "k_counted")) {
    data.k_counted = integers("k_counted");
    data.k_counted_bound = numbers("k_counted_bound");
  }
  // With a target there may be more draws than asked for.
  auto const asked = study_case.config->draws, draws = study_case.config->target_se > 0.0 ? std::max(asked, study_case.draws()) : asked;
  auto const rows = static_cast<std::size_t>(study_case.config->rows * draws), k = study_case.group->k.size();
  bool const whole = data.row_n.size() == rows && data.p_max.size() == rows && data.tail_mass.size() == rows * k &&
                     data.row_linf_error.size() == rows * k && data.output_error.empty() != study_case.config->output_error &&
                     data.k_epsilon.size() == rows * study_case.config->epsilon.size() &&
                     data.count_p_above.size() == rows * study_case.config->count_above.size();
  if (!whole) throw RunError(path + " is not whole");
  auto const residuals = numbers("check_residual"), seconds = numbers("phase_seconds");
  if (residuals.size() != check_names.size() || seconds.size() % phase_names.size() != 0)
    throw RunError(path + " was written by another version; use --force");
  for (std::size_t i = 0; i < residuals.size(); ++i) study_case.checks.worst[i] = residuals[i];
  for (std::size_t i = 0; i < seconds.size(); i += phase_names.size()) {
    auto& draw = study_case.phase_seconds.emplace_back();
    std::copy_n(seconds.begin() + static_cast<std::ptrdiff_t>(i), phase_names.size(), draw.begin());
  }
  return h5::read_double_attribute(file, "sgemm_gflops");
}

}  // namespace

std::string case_path(std::string const& output, std::string const& id) { return output + ".cases/" + id + ".h5"; }

void write_case(std::string const& output, Provenance const& provenance, StudyCase const& study_case) {
  write_whole(case_path(output, study_case.plan().id), [&](hid_t file) {
    write_provenance(file, provenance);
    auto const cases = h5::create_group(file, "cases");
    auto const group = h5::create_group(cases, study_case.plan().id);
    write_attributes(group, study_case);
    write_scales(group, study_case);
    write_data(group, study_case);
  });
}

std::optional<double> load_finished(std::string const& path, StudyCase& study_case) {
  try {
    if (!fs::exists(path)) return std::nullopt;
    auto const file = h5::open_file(path);
    auto const options = options_of_case(h5::read_text_attribute(file, "config_text"));
    if (h5::read_int_attribute(file, "schema_version") != 1 || options != options_of_case(study_case.config->config_text))
      return std::nullopt;
    auto const group = h5::open_group(file, "cases/" + study_case.plan().id);
    if (h5::read_text_attribute(group, "verdict") != "VALID") return std::nullopt;
    for (auto const& name : h5::group_members(group)) h5::read_dataset(group, name);
    return load_case(path, study_case);
  } catch (RunError const&) {
    return std::nullopt;  // damaged: measured again
  }
}

void merge_cases(std::string const& output, std::vector<std::string> const& paths) {
  write_whole(output, [&](hid_t file) {
    auto const cases = h5::create_group(file, "cases");
    bool first = true;
    for (auto const& path : paths) {
      auto const in = h5::open_file(path);
      if (std::exchange(first, false)) h5::copy_attributes(in, file);
      if (h5::read_text_attribute(in, "kind") != h5::read_text_attribute(file, "kind"))
        throw RunError(path + " is of another kind than the files before it");
      auto const in_cases = h5::open_group(in, "cases");
      for (auto const& id : h5::group_members(in_cases)) {
        if (h5::has_link(cases, id)) throw RunError("case " + id + " of " + path + " is already in " + output);
        auto const from = h5::open_group(in_cases, id), to = h5::create_group(cases, id);
        h5::copy_attributes(from, to);
        h5::copy_datasets(from, to);
      }
    }
  });
}

void start_output(std::string const& output, bool force) {
  fs::path const folder = output + ".cases";
  std::error_code error;
  if (force) {
    fs::remove_all(folder, error);
    fs::remove(output, error);
  }
  fs::create_directories(folder, error);
  if (error) throw UsageError("--output", output, "cannot be written: " + error.message());
}

void check_output(std::string const& output, bool force, bool resume) {
  check_writable(output);
  bool const there = fs::exists(output) || fs::exists(output + ".cases");
  if (there && !force && !resume)
    throw UsageError("--output", output, "has results already; use --force to replace them, --resume to continue them");
}

}  // namespace asymptop
