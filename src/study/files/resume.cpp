#include "study/files/resume.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "h5/h5.hpp"
#include "study/files/by_blas.hpp"
#include "study/files/case_file.hpp"
#include "study/files/origin.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

/// A file of the case, held against the run that wants it: what is not finished goes on with the numbers that it has, a finished case may
/// hold more than is asked for. Throws RunError as open_case() does.
CaseFile open_own(std::string const& path, StudyCase const& c, bool checkpoint) {
  return open_case(path, c.plan().id, checkpoint ? checkpoint_kind : "study", origin_of(*c.config, *c.group),
                   checkpoint ? Agreement::contents : Agreement::numbers);
}

/// Throws RunError, with the reason, unless a checkpoint's numbers can be gone on from.
void check_origin(CaseFile const& there, Provenance const& provenance, StudyCase const& c) {
  auto const& [file, group, other, invalid] = there;
  check_same_build(file, provenance);
  check_same_blas_kernel(file, provenance, *c.config, *c.group);
  if (h5::read_int_attribute(group, "k_held") != c.group->held) throw RunError("it holds another k_held");
  if (h5::read_text_attribute(group, "path") != c.path()) throw RunError("it was made on another kernel path");
}

/// Where the values that are wanted stand among those that are there. Throws RunError where one is not.
template <class T>
std::vector<std::size_t> places(std::vector<T> const& there, std::vector<T> const& wanted, std::string const& name) {
  std::vector<std::size_t> found;
  for (auto const& value : wanted) {
    auto const at = std::find(there.begin(), there.end(), value);
    if (at == there.end()) throw RunError("it lacks " + name + " = " + shown(value));
    found.push_back(at - there.begin());
  }
  return found;
}

/// The columns of a file's data that a case asks for, along the axis of a scale.
struct Columns {
  std::size_t there = 1;
  std::vector<std::size_t> wanted = {0};
};

/// Of each axis of a case, by its scale. Throws RunError where the file does not hold all that is asked for.
std::map<std::string, Columns> columns_of(hid_t group, StudyCase const& c) {
  std::vector<std::string> thresholds;
  for (auto const& law : c.config->count_above) thresholds.push_back(one_spelling(law.text()));
  auto const k = h5::read_dataset(group, "k").integers;
  // The grid between the laws' values follows from the largest: the laws' own are what was asked for.
  places(k, c.group->k_of_law, "k");
  auto const epsilon = h5::read_dataset(group, "epsilon").numbers;
  auto threshold = h5::read_dataset(group, "threshold").texts;
  for (auto& law : threshold) law = one_spelling(law);
  return {{"", {}},
          {"k", {k.size(), places(k, c.group->k, "k")}},
          {"epsilon", {epsilon.size(), places(epsilon, c.config->epsilon, "epsilon")}},
          {"threshold", {threshold.size(), places(threshold, thresholds, "count-above")}}};
}

/// The wanted columns of rows of numbers.
template <class T>
std::vector<T> only(std::vector<T> const& values, Columns const& columns) {
  std::vector<T> kept;
  for (std::size_t row = 0; row < values.size(); row += columns.there) {
    for (auto const column : columns.wanted) kept.push_back(values[row + column]);
  }
  return kept;
}

/// Fills data, checks and timings of the draws that the file holds, as far as the case asks for them. Throws RunError where something is
/// missing or of another size.
double load_case(hid_t file, hid_t group, StudyCase& c) {
  auto const read = [&](std::string const& name, std::vector<hsize_t> const& expected, auto& values) {
    auto data = h5::read_dataset(group, name);
    if (data.shape != expected) throw RunError(name + " is of another size");
    if constexpr (std::is_same_v<decltype(values), std::vector<double>&>) {
      values = std::move(data.numbers);
    } else {
      values = std::move(data.integers);
    }
    hsize_t size = 1;
    for (auto const length : expected) size *= length;
    if (values.size() != size) throw RunError(name + " is of another type");
  };
  hsize_t const draws = h5::read_int_attribute(group, "draws"), rows = c.group->counts.rows;
  auto const columns = columns_of(group, c);
  c.data.each(c.axes(), [&](RowField const& field, auto& values) {
    auto const& along = columns.at(name_of(field.axis));
    std::vector<hsize_t> shape{draws, rows};
    if (field.axis != Axis::row) shape.push_back(along.there);
    read(field.name, shape, values);
    values = only(values, along);
  });
  std::vector<double> residuals, seconds;
  auto const made = c.checks_made();
  read("check_residual", {made.size()}, residuals);
  read("phase_seconds", {draws, phase_names.size()}, seconds);
  for (std::size_t i = 0; i < made.size(); ++i) c.checks.worst[static_cast<std::size_t>(made[i])] = residuals[i];
  if (h5::has_attribute(group, "bin_width")) c.checks.bin_width = h5::read_double_attribute(group, "bin_width");
  c.checks.largest_logit =
      h5::has_attribute(group, "largest_logit") ? h5::read_double_attribute(group, "largest_logit") : c.largest_of_file();
  for (std::size_t i = 0; i < seconds.size(); i += phase_names.size())
    std::copy_n(seconds.begin() + i, phase_names.size(), c.phase_seconds.emplace_back().begin());
  c.seconds_total = h5::read_double_attribute(group, "seconds_total");
  return h5::read_double_attribute(file, "sgemm_gflops");
}

/// The case as it was asked for, which may be less than the run measures, and with what a file of it holds by rank.
StudyCase as_asked(StudyCase const& c, std::int64_t held) {
  auto asked = c;
  auto group = *c.group;
  if (c.config->asked) {
    asked.config = c.config->asked.get();
    // Of inputs and sigma the axes of k and of thresholds do not depend.
    auto const axes = plan_axes(*asked.config, {}, {}, group.n, group.d, -1, group.input);
    group.k_of_law = axes.k_of_law;
    group.k_clipped = axes.k_clipped;
    group.k = axes.k;
    group.threshold = axes.threshold;
  }
  group.held = std::min(held, group.k.back());
  asked.own_group = std::make_shared<GroupPlan const>(std::move(group));
  asked.group = asked.own_group.get();
  return asked;
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
    auto const there = open_own(path, c, checkpoint);
    there.check_options();
    if (checkpoint) check_origin(there, provenance, c);
    if (!checkpoint) there.check_verdict();
    auto const& [file, group, other, invalid] = there;
    auto found = checkpoint ? c : as_asked(c, h5::read_int_attribute(group, "k_held"));
    auto const sgemm = load_case(file, group, found);
    // With a target there may be more draws than asked for.
    auto const asked = c.group->counts.draws;
    bool const most = c.config->has_target() || found.draws() <= asked;
    if (!most || (!checkpoint && found.draws() < asked)) throw RunError("it has another number of draws");
    c = std::move(found);
    return {sgemm, ""};
  } catch (RunError const& refused) {
    return {std::nullopt, path + " is not taken over: " + refused.what()};
  }
}

}  // namespace

Contents contents_of(hid_t group) {
  Contents there{
      h5::read_dataset(group, "k_law").texts, {}, h5::read_dataset(group, "threshold").texts, h5::read_int_attribute(group, "draws")};
  for (auto const value : h5::read_dataset(group, "epsilon").numbers) there.epsilon.push_back(shortest(value));
  return there;
}

std::optional<Contents> replaced_contents(std::string const& path, StudyCase const& study_case, bool checkpoint) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  try {
    auto const run = origin_of(*study_case.config, *study_case.group);
    auto const there = open_case(path, study_case.plan().id, checkpoint ? checkpoint_kind : "study", run, Agreement::numbers);
    there.check_options();
    auto const& group = there.group;
    if (!checkpoint) {
      try {
        there.check_verdict();
        columns_of(group, as_asked(study_case, h5::read_int_attribute(group, "k_held")));
        return std::nullopt;
      } catch (RunError const&) {
      }
    }
    return contents_of(group);
  } catch (RunError const&) {
    return std::nullopt;
  }
}

std::string case_state(std::string const& path, StudyCase& study_case) {
  std::error_code error;
  if (!fs::exists(path, error)) return "absent";
  if (find_case(path, {}, study_case, false).sgemm_gflops) return "valid";
  try {
    auto const run = origin_of(study_case.config->asked ? *study_case.config->asked : *study_case.config, *study_case.group);
    auto const there = open_case(path, study_case.plan().id, "study", run, Agreement::contents);
    if (there.other.empty() && !there.invalid.empty()) return "invalid";
  } catch (RunError const&) {
  }
  return "unusable";
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
    auto const replaced = replaced_contents(case_path(output, id), item, false);
    resumed.fewest_draws = std::max(resumed.fewest_draws, replaced ? replaced->draws : 0);
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

OtherCases other_cases(RunConfig const& config, StudyPlan const& plan, std::vector<std::string> const& planned) {
  std::vector<std::string> paths;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(config.output + ".cases", error)) {
    auto const path = case_path(config.output, entry.path().stem().string());
    bool const known = std::find(planned.begin(), planned.end(), path) != planned.end();
    if (entry.path().extension() == ".h5" && !known) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  OtherCases others;
  for (auto const& path : paths) {
    try {
      auto const id = fs::path(path).stem().string();
      auto const there = open_case(path, id, "study", origin_of(config, plan), Agreement::numbers);
      there.check_options();
      if (h5::group_members(h5::open_group(there.file, "cases")) != std::vector{id}) throw RunError("it holds another case");
      there.check_verdict();
      others.kept.push_back(path);
    } catch (RunError const& refused) {
      others.left_out.push_back(path + " is left out of " + config.output + ": " + refused.what());
    }
  }
  return others;
}

GroupPlan group_left(GroupPlan group, std::vector<std::int64_t> const& finished) {
  auto const all = std::exchange(group.cases, {});
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (finished[i] == 0) group.cases.push_back(all[i]);
  }
  return group;
}

}  // namespace asymptop
