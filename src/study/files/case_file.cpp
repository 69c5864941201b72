#include "study/files/case_file.hpp"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "config/errors.hpp"
#include "h5/copy.hpp"
#include "h5/h5.hpp"
#include "kernels/core/fixed_point.hpp"
#include "results/attributes.hpp"
#include "results/seal.hpp"
#include "results/whole_file.hpp"
#include "study/files/draw_target.hpp"
#include "study/files/origin.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

std::vector<std::int64_t> count_up(std::size_t length) {
  std::vector<std::int64_t> values(length);
  for (std::size_t i = 0; i < length; ++i) values[i] = i;
  return values;
}

std::vector<std::string> law_texts(std::vector<Law> const& laws) {
  std::vector<std::string> texts;
  for (auto const& law : laws) texts.push_back(law.text());
  return texts;
}

void write_attributes(hid_t group, StudyCase const& c) {
  auto const& config = *c.config;
  Attributes const to(group);
  to.text("id", c.plan().id);
  to.integer("n", c.group->n);
  to.integer("d", c.group->key_d());
  if (c.group->d_v > 0 && c.group->d_v != c.group->key_d()) to.integer("d_v", c.group->d_v);
  to.text("sigma_law", c.plan().sigma_law);
  if (!c.plan().selector.is_oracle()) to.text("selector", c.plan().selector.text);
  if (c.plan().index_d > 0) {
    to.integer("index_d", c.plan().index_d);
    to.integer("index_heads", c.plan().index_heads);
  }
  to.number("sigma", c.sigma());
  double const bound = c.group->input.coordinate_bound(c.group->d);
  to.number("R", c.sigma() / c.group->scale * (bound * bound));
  to.number("scale", c.group->scale);
  to.integer("draws", c.draws());
  to.integer("rows", c.group->counts.rows);
  to.integer("seed", config.seed);
  to.integer("block", config.block);
  to.text("input", c.input);
  to.integer("head", c.group->head);
  if (c.group->layer >= 0) {
    to.integer("layer", c.group->layer);
    to.text("text", c.texts());
    if (!c.group->form.kind.empty()) to.text("attention", c.group->form.kind);
  }
  if (c.axes().tensors) {
    to.integer("first_keys", config.first_keys);
    to.integer("recent_keys", config.recent_keys);
  }
  if (c.group->form.softcap > 0.0) to.number("softcap", c.group->form.softcap);
  if (c.group->slope() != 0.0) to.number("alibi_slope", c.group->slope());
  if (std::isfinite(c.group->sink())) to.number("sink_logit", c.group->sink());
  if (c.group->window > 0) to.integer("window", c.group->window);
  if (c.group->drop_first > 0) to.integer("drop_first", c.group->drop_first);
  if (auto const kind = c.group->contexts.kind; kind != Contexts::prefix) to.text("contexts", name_of(kind));
  to.text("row_sigma", name_of(config.row_sigma));
  to.text("weights", name_of(config.weights));
  to.text("self", c.group->head < 0 ? name_of(config.self) : "include");
  to.text("mask", name_of(c.group->mask));
  to.integer("k_clipped", c.group->k_clipped ? 1 : 0);
  to.integer("k_held", c.group->held);
  if (c.checks.bin_width > planned_bin_width) to.number("bin_width", c.checks.bin_width);
  if (c.largest_logit() != c.largest_of_file()) to.number("largest_logit", c.largest_logit());
  if (config.has_target()) {
    to.number("target_se", config.target_se);
    to.text("target_missed", joined(missed_targets(c)));
  }
  to.text("verdict", c.verdict());
  to.text("verdict_reason", c.verdict_reason());
  bool const simulated = c.group->simulated;
  to.text("keys", simulated ? "none" : c.group->resident ? "resident" : "streamed");
  to.text("merge", simulated ? "none" : name_of(c.group->merge));
  to.text("path", c.path());
  // Where they were made is no part of what they are.
  if (!simulated && c.group->path->numbers != nullptr) to.text((run_attribute + "path").c_str(), c.group->path->name);
  if (c.group->device_bytes > 0.0) {
    to.integer("device_peak_bytes", to_integer(c.device_peak_bytes));
    to.integer("device_planned_bytes", to_integer(c.group->device_bytes));
  }
  to.number("seconds_total", c.seconds_total);
  to.number("seconds_pass", c.pass_seconds());
  to.number("gflop", c.score_flops() / 1e9);
}

void write_scales(hid_t group, StudyCase const& c) {
  auto const& config = *c.config;
  h5::write_scale(group, "draw", count_up(c.draws()), "1", "independent draw of keys and queries");
  h5::write_scale(group, "row", count_up(c.group->counts.rows), "1", "query row within a draw");
  h5::write_scale(group, "k", c.group->k, "keys", "keys kept by top-k attention");
  h5::write_scale(group, "epsilon", config.epsilon, "1", "tail mass allowed in k_epsilon");
  h5::write_scale(group, "threshold", law_texts(config.count_above), "threshold on p of count_p_above, as given");
  h5::write_scale(group, "k_law", law_texts(config.k), "law of k in n");
  std::vector<std::string> checks, phases(phase_names.begin(), phase_names.end());
  for (auto const check : c.checks_made()) checks.emplace_back(check_names[static_cast<std::size_t>(check)]);
  h5::write_scale(group, "check", checks, "self-check");
  h5::write_scale(group, "phase", phases, "phase of a draw");
  if (!c.group->texts.empty()) h5::write_scale(group, "text", c.group->texts, "text of the tensor file");
}

}  // namespace

void write_fields(hid_t group, FieldValues const& data, FieldAxes const& axes, h5::Dimension const& draw, h5::Dimension const& row) {
  data.each(axes, [&](RowField const& field, auto const& values) {
    std::vector<h5::Dimension> dimensions{draw, row};
    if (field.axis != Axis::row) dimensions.push_back({name_of(field.axis), axes.length(field.axis)});
    h5::write_dataset(group, field.name, dimensions, values, field.units, field.long_name);
  });
}

namespace {

void write_data(hid_t group, StudyCase const& c) {
  std::size_t const draws = c.draws(), rows = c.group->counts.rows;
  h5::Dimension const draw{"draw", draws}, row{"row", rows}, threshold{"threshold", c.config->count_above.size()};
  auto const put = [&](char const* name, std::vector<h5::Dimension> const& dimensions, auto const& values, char const* units,
                       char const* long_name) { h5::write_dataset(group, name, dimensions, values, units, long_name); };
  put("k_of_law", {{"k_law", c.config->k.size()}}, c.group->k_of_law, "keys", "k of each law at n, rounded and clipped to n");
  put("threshold_value", {threshold}, c.group->threshold, "1", "value of each threshold at n");
  write_fields(group, c.data, c.axes(), draw, row);
  if (c.group->contexts.kind != Contexts::prefix || !c.group->texts.empty()) {
    std::vector<std::int64_t> texts, ends;
    for (std::int64_t i = 0; i < c.draws(); ++i) {
      auto const context = context_of(c.group->contexts, i);
      texts.push_back(context.text);
      ends.push_back(context.begin + c.group->n);
    }
    put("draw_text", {draw}, texts, "1", "text that the draw's context is from, its place in the list of texts");
    put("draw_end", {draw}, ends, "tokens", "place in the text where the draw's context ends: its keys are the n before");
  }
  auto const tolerance = c.tolerances();
  auto const made = c.checks_made();
  auto const checks = [&](auto const& all) {
    std::vector<double> some;
    for (auto const check : made) some.push_back(all[static_cast<std::size_t>(check)]);
    return some;
  };
  put("check_residual", {{"check", made.size()}}, checks(c.checks.worst), "1", "worst residual over draws");
  put("check_tolerance", {{"check", made.size()}}, checks(tolerance), "1", "largest residual of a valid case");
  std::vector<double> seconds;
  for (auto const& times : c.phase_seconds) seconds.insert(seconds.end(), times.begin(), times.end());
  put("phase_seconds", {draw, {"phase", phase_names.size()}}, seconds, "s", "wall time of the slowest rank");
}

void write_case_file(std::string const& path, Provenance const& provenance, StudyCase const& study_case, bool finished) {
  write_whole(path, [&](hid_t file) {
    write_provenance(file, provenance);
    auto const cases = h5::create_group(file, "cases");
    auto const group = h5::create_group(cases, study_case.plan().id);
    write_attributes(group, study_case);
    if (finished && study_case.config->has_target()) h5::write_attribute(group, "target_ended", why_ended(study_case));
    write_scales(group, study_case);
    write_data(group, study_case);
  });
}

}  // namespace

std::string case_path(std::string const& output, std::string const& id) { return output + ".cases/" + id + ".h5"; }

std::string checkpoint_path(std::string const& output, std::string const& id) { return output + ".cases/" + id + ".checkpoint"; }

void write_case(std::string const& output, Provenance const& provenance, StudyCase const& study_case) {
  write_case_file(case_path(output, study_case.plan().id), provenance, study_case, true);
  std::error_code none_there;
  fs::remove(checkpoint_path(output, study_case.plan().id), none_there);
}

void write_checkpoint(std::string const& output, Provenance const& provenance, StudyCase const& study_case) {
  write_case_file(checkpoint_path(output, study_case.plan().id), of_kind(provenance, checkpoint_kind), study_case, false);
}

namespace {

/// What a file says of its run and the joined file says otherwise becomes attributes of the case, unless an earlier merge has made them.
void note_origin(hid_t in, hid_t joined, hid_t to) {
  for (auto const& name : h5::attribute_names(in)) {
    auto const own = run_attribute + name;
    auto const value = h5::read_attribute(in, name);
    if (h5::has_attribute(to, own) || (h5::has_attribute(joined, name) && h5::read_attribute(joined, name) == value)) continue;
    std::visit([&](auto const& it) { h5::write_attribute(to, own, it); }, value);
  }
}

/// Root attributes come from the first file where there are none yet.
void copy_cases(hid_t file, std::vector<std::string> const& paths) {
  auto const cases = h5::create_group(file, "cases");
  for (auto const& path : paths) {
    auto const in = open_sealed(path);
    if (!h5::has_attribute(file, "kind")) h5::copy_attributes(in, file);
    if (h5::read_text_attribute(in, "kind") != h5::read_text_attribute(file, "kind"))
      throw RunError(path + " is of another kind than the files before it");
    if (h5::read_text_attribute(in, "kind") == checkpoint_kind) throw RunError(path + " is a checkpoint: its case is not finished");
    auto const in_cases = h5::open_group(in, "cases");
    for (auto const& id : h5::group_members(in_cases)) {
      if (h5::has_link(cases, id))
        throw RunError("case " + id + " of " + path + " is one of an earlier file too: leave it, or that file, out");
      auto const from = h5::open_group(in_cases, id), to = h5::create_group(cases, id);
      h5::copy_attributes(from, to);
      note_origin(in, file, to);
      h5::copy_datasets(from, to);
    }
  }
}

}  // namespace

namespace {

/// Throws UsageError for a study's file with a case that is of other quantities than the first of all is.
void check_same_quantities(std::vector<std::string> const& paths) {
  std::optional<CaseOrigin> first;
  for (auto const& path : paths) {
    auto const file = open_sealed(path);
    if (h5::read_text_attribute(file, "kind") != "study") continue;
    auto const cases = h5::open_group(file, "cases");
    for (auto const& id : h5::group_members(cases)) {
      auto const own = origin_of(file, h5::open_group(cases, id));
      if (!first) first = own;
      auto const other = other_option(*first, own, Agreement::quantities);
      if (!other.empty())
        throw UsageError("merge", path, "holds " + id + ", of other options than the first of " + paths.front() + " (" + other + ")");
    }
  }
}

}  // namespace

void merge_cases(std::string const& output, std::vector<std::string> const& paths) {
  check_same_quantities(paths);
  write_whole(output, [&](hid_t file) { copy_cases(file, paths); });
}

void join_cases(std::string const& output, Provenance provenance, std::vector<std::string> const& paths) {
  constexpr char const* rate = "sgemm_gflops";  // measured beside each group of cases, and not at all where all were finished
  auto const first = open_sealed(paths.front());
  if (h5::has_attribute(first, rate)) provenance.numbers = {{rate, h5::read_double_attribute(first, rate)}};
  write_whole(output, [&](hid_t file) {
    write_provenance(file, provenance);
    copy_cases(file, paths);
  });
}

void try_merge(std::string const& path) { copy_cases(h5::create_file_in_memory(path), {path}); }

std::vector<std::string> start_output(std::string const& output, bool force) {
  fs::path const folder = link_target(output + ".cases");
  std::error_code error;
  if (force) {
    fs::remove_all(folder, error);
    fs::remove(link_target(output), error);
  }
  fs::create_directories(folder, error);
  if (error) throw UsageError("--output", output, "cannot be written: " + error.message());
  // Opening and filling a file is the only sure test: not hours later, when the first case is finished.
  auto const probe = part_name((folder / "writable").string());
  auto* const file = std::fopen(probe.c_str(), "w");
  bool const written = file != nullptr && std::fputs(std::string(4096, ' ').c_str(), file) >= 0 && std::fflush(file) == 0;
  std::string const cause = written ? "" : std::strerror(errno);
  if (file != nullptr) std::fclose(file);
  fs::remove(probe, error);
  if (!written) throw UsageError("--output", output, "cannot be written: " + folder.string() + ": " + cause);
  auto discarded = discard_parts(folder.string(), "");
  for (auto& part : discard_parts_of(output)) discarded.push_back(std::move(part));
  return discarded;
}

void check_output(std::string const& output, bool force, bool resume) {
  check_writable(output);
  std::error_code none;  // a run that was stopped before its first checkpoint leaves an empty folder
  bool const there = fs::exists(output), cases = fs::exists(output + ".cases") && !fs::is_empty(output + ".cases", none);
  if ((there || cases) && !force && !resume)
    throw UsageError("--output", output,
                     std::string(there ? "is there already" : "has case files already, in " + output + ".cases") +
                         "; use --force to replace what is there, --resume to continue results");
}

void check_new_output(std::string const& output) {
  check_writable(output);
  if (fs::exists(output)) throw UsageError("--output", output, "is there already; give another name");
}

}  // namespace asymptop
