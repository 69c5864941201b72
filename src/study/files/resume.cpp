#include "study/files/resume.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "results/seal.hpp"
#include "study/files/case_file.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

/// Options that say which cases there are, and those that change nothing of their numbers.
std::set<std::string> const not_of_case = {"n",        "d",    "inputs", "heads",  "sigma",      "R",
                                           "max-time", "keys", "merge",  "groups", "batch-rows", "mpi-memory"};

/// The options that a case's numbers depend on.
std::string options_of_case(std::string const& config_text) {
  std::istringstream in(config_text);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    auto const name = line.substr(0, line.find(" = "));
    if (not_of_case.count(name) == 0) kept += line + "\n";
  }
  return kept;
}

std::string text_of(Provenance const& provenance, std::string const& name) {
  auto const found = std::find_if(provenance.texts.begin(), provenance.texts.end(), [&](auto const& entry) { return entry.first == name; });
  return found == provenance.texts.end() ? "" : found->second;
}

/// Throws RunError, with the reason, unless the file's numbers are those that this run would measure.
void check_origin(hid_t file, hid_t group, Provenance const& provenance, StudyCase const& c, bool checkpoint) {
  check_same_run(file, *c.config, checkpoint ? checkpoint_kind : "study");
  if (h5::read_text_attribute(group, "id") != c.plan().id) throw RunError("it holds another case");
  if (!checkpoint) {
    if (h5::read_text_attribute(group, "verdict") != "VALID")
      throw RunError("it is not VALID: " + h5::read_text_attribute(group, "verdict_reason"));
    return;
  }
  check_same_build(file, provenance);
  if (h5::read_int_attribute(group, "k_held") != c.group->held) throw RunError("it holds another k_held");
  if (h5::read_text_attribute(group, "path") != c.path()) throw RunError("it was made on another kernel path");
}

/// Fills data, checks and timings of the draws that the file holds. Throws RunError where something is missing or of another size.
double load_case(hid_t file, hid_t group, StudyCase& c) {
  auto const check = [](std::vector<hsize_t> const& shape, std::vector<hsize_t> const& expected, char const* name) {
    if (shape != expected) throw RunError(std::string(name) + " is of another size");
  };
  auto const read = [&](char const* name, std::vector<hsize_t> const& expected, std::vector<double>& numbers) {
    auto data = h5::read_dataset(group, name);
    check(data.shape, expected, name);
    numbers = std::move(data.numbers);
    hsize_t size = 1;
    for (auto const length : expected) size *= length;
    if (numbers.size() != size) throw RunError(std::string(name) + " is of another type");
  };
  auto const draws = static_cast<hsize_t>(h5::read_int_attribute(group, "draws")), rows = static_cast<hsize_t>(c.config->rows);
  auto const axes = c.axes();
  c.data.each(axes, [&](RowField const& field, auto& values) {
    std::vector<hsize_t> shape{draws, rows};
    if (field.axis != Axis::row) shape.push_back(axes.length(field.axis));
    if constexpr (std::is_same_v<decltype(values), std::vector<double>&>) {
      read(field.name, shape, values);
    } else {
      auto data = h5::read_dataset(group, field.name);
      check(data.shape, shape, field.name);
      values = std::move(data.integers);
      if (values.size() != draws * rows * axes.length(field.axis)) throw RunError(std::string(field.name) + " is of another type");
    }
  });
  for (auto const& [name, expected] : {std::pair{"k", c.group->k}, {"k_of_law", c.group->k_of_law}}) {
    if (h5::read_dataset(group, name).integers != expected) throw RunError(std::string(name) + " differs from that of the plan");
  }
  std::vector<double> residuals, seconds;
  read("check_residual", {check_names.size()}, residuals);
  read("phase_seconds", {draws, phase_names.size()}, seconds);
  std::copy(residuals.begin(), residuals.end(), c.checks.worst.begin());
  for (std::size_t i = 0; i < seconds.size(); i += phase_names.size())
    std::copy_n(seconds.begin() + static_cast<std::ptrdiff_t>(i), phase_names.size(), c.phase_seconds.emplace_back().begin());
  c.seconds_total = h5::read_double_attribute(group, "seconds_total");
  return h5::read_double_attribute(file, "sgemm_gflops");
}

struct Found {
  std::optional<double> sgemm_gflops;  ///< of a file that was taken
  std::string refused;                 ///< why one that is there was not
};

/// Fills the case from the file, or leaves it as it is.
Found find_case(std::string const& path, Provenance const& provenance, StudyCase& c, bool checkpoint) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  try {
    if (check_seal(path) != Seal::whole) throw RunError("its checksum is not that of its bytes");
    auto const file = h5::open_file(path);
    auto const group = h5::open_group(file, "cases/" + c.plan().id);
    check_origin(file, group, provenance, c, checkpoint);
    auto found = c;
    auto const sgemm = load_case(file, group, found);
    // With a target there may be more draws than asked for.
    auto const asked = c.config->draws;
    bool const most = c.config->target_se > 0.0 || found.draws() <= asked;
    if (!most || (!checkpoint && found.draws() < asked)) throw RunError("it has another number of draws");
    c = std::move(found);
    return {sgemm, ""};
  } catch (RunError const& refused) {
    return {std::nullopt, path + " is not taken over: " + refused.what()};
  }
}

}  // namespace

std::string case_state(std::string const& path, StudyCase& study_case) {
  std::error_code error;
  if (!fs::exists(path, error)) return "absent";
  if (find_case(path, {}, study_case, false).sgemm_gflops) return "valid";
  try {
    if (check_seal(path) != Seal::whole) return "unusable";
    auto const file = h5::open_file(path);
    auto const group = h5::open_group(file, "cases/" + study_case.plan().id);
    bool const same = options_of_case(h5::read_text_attribute(file, "config_text")) == options_of_case(study_case.config->config_text);
    if (same && h5::read_text_attribute(group, "verdict") == "INVALID") return "invalid";
  } catch (RunError const&) {
  }
  return "unusable";
}

void check_same_run(hid_t file, RunConfig const& config, std::string const& kind) {
  if (h5::read_int_attribute(file, "schema_version") != 1) throw RunError("it has another schema version");
  if (h5::read_text_attribute(file, "kind") != kind) throw RunError("it is of another kind");
  if (options_of_case(h5::read_text_attribute(file, "config_text")) != options_of_case(config.config_text))
    throw RunError("it was made with other options");
}

void check_same_build(hid_t file, Provenance const& provenance) {
  for (auto const* name : {"build_id", "simd", "blas_kernel", "execution_space"}) {
    if (h5::read_text_attribute(file, name) != text_of(provenance, name))
      throw RunError("it was made by another build or on another kind of CPU (" + std::string(name) + ")");
  }
}

Resumed resume_cases(std::string const& output, Provenance const& provenance, std::vector<StudyCase>& cases) {
  Resumed resumed;
  resumed.draws = std::numeric_limits<std::int64_t>::max();
  for (auto& item : cases) {
    auto const& id = item.plan().id;
    auto found = find_case(case_path(output, id), provenance, item, false);
    resumed.finished.push_back(found.sgemm_gflops ? 1 : 0);
    resumed.sgemm_gflops.push_back(found.sgemm_gflops.value_or(0.0));
    if (found.sgemm_gflops) {
      // A kill between the last step of a finished file and this one leaves it.
      std::error_code none_there;
      fs::remove(checkpoint_path(output, id), none_there);
      continue;
    }
    auto const checkpoint = find_case(checkpoint_path(output, id), provenance, item, true);
    for (auto const& refused : {found.refused, checkpoint.refused}) {
      if (!refused.empty()) resumed.said.push_back(refused);
    }
    resumed.draws = std::min(resumed.draws, item.draws());
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (resumed.finished[i] == 0) cases[i].keep_draws(resumed.draws);
  }
  return resumed;
}

GroupPlan group_left(GroupPlan group, std::vector<std::int64_t> const& finished) {
  auto const all = std::exchange(group.cases, {});
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (finished[i] == 0) group.cases.push_back(all[i]);
  }
  return group;
}

}  // namespace asymptop
