#include "study/files/kept_contents.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/option_values.hpp"
#include "h5/h5.hpp"
#include "results/seal.hpp"
#include "study/files/case_file.hpp"
#include "study/files/origin.hpp"
#include "study/files/resume.hpp"

namespace asymptop {
namespace {

using Texts = std::vector<std::string>;

void append(Texts& to, Texts const& items) { to.insert(to.end(), items.begin(), items.end()); }

void append(Contents& to, Contents const& other) {
  append(to.k, other.k);
  append(to.epsilon, other.epsilon);
  append(to.count_above, other.count_above);
}

/// Of the finished cases that are to be measured again; and of their checkpoints, which go on only where all is measured that they hold.
Contents held_contents(RunConfig const& config, StudyPlan const& plan) {
  Contents held;
  for (auto const& group : plan.groups) {
    for (std::size_t law = 0; law < group.cases.size(); ++law) {
      StudyCase item;
      item.config = &config;
      item.group = &group;
      item.law = law;
      auto const finished = replaced_contents(case_path(config.output, item.plan().id), item, false);
      if (!finished) continue;
      append(held, *finished);
      append(held, replaced_contents(checkpoint_path(config.output, item.plan().id), item, true).value_or(Contents{}));
    }
  }
  return held;
}

Contents asked_contents(RunConfig const& config) {
  Contents asked;
  for (auto const& law : config.k) asked.k.push_back(law.text());
  for (auto const epsilon : config.epsilon) asked.epsilon.push_back(shortest(epsilon));
  for (auto const& law : config.count_above) asked.count_above.push_back(law.text());
  return asked;
}

/// The items that are not among others in any spelling, as a list. Their order does not depend on the files that they come from: a run that
/// is stopped and resumed finds fewer of them, and its checkpoints.
std::string list_beside(Texts const& others, Texts items) {
  Texts known;
  for (auto const& other : others) known.push_back(one_spelling(other));
  std::sort(items.begin(), items.end());
  std::string list;
  for (auto const& item : items) {
    auto const spelt = one_spelling(item);
    if (std::find(known.begin(), known.end(), spelt) != known.end()) continue;
    known.push_back(spelt);
    list += (list.empty() ? "" : ",") + item;
  }
  return list;
}

/// A config text with more items in the list of an option.
std::string with_more(std::string const& config_text, std::string const& option, std::string const& list) {
  std::istringstream in(config_text);
  std::string text;
  for (std::string line; std::getline(in, line);) text += line + (line.starts_with(option + " = ") ? "," + list : "") + "\n";
  return text;
}

bool makes_all_of(RunConfig const& config, StudyPlan const& plan, hid_t file, hid_t group) {
  auto const asked = asked_contents(config), held = contents_of(group);
  return other_option(origin_of(file, group), origin_of(config, plan), Agreement::numbers).empty() &&
         list_beside(asked.k, held.k).empty() && list_beside(asked.epsilon, held.epsilon).empty() &&
         list_beside(asked.count_above, held.count_above).empty();
}

}  // namespace

void check_nothing_lost(RunConfig const& config, StudyPlan const& plan) {
  std::set<std::string> planned;
  for (auto const& group : plan.groups) {
    for (auto const& item : group.cases) planned.insert(item.id);
  }
  std::string lost;
  try {
    std::error_code error;
    if (!std::filesystem::exists(config.output, error)) return;
    auto const file = open_sealed(config.output);
    auto const cases = h5::open_group(file, "cases");
    for (auto const& id : h5::group_members(cases)) {
      if (std::filesystem::exists(case_path(config.output, id), error)) continue;
      if (planned.count(id) == 0 || !makes_all_of(config, plan, file, h5::open_group(cases, id))) lost = lost.empty() ? id : lost;
    }
  } catch (RunError const&) {
    return;  // what cannot be read is not lost
  }
  if (!lost.empty())
    throw UsageError("--output", config.output,
                     "holds the case " + lost + ", which has no file in " + config.output +
                         ".cases and would be lost; give another name, or --force without --resume to replace all");
}

namespace {

/// Of a finished, VALID case whose numbers are of other options: the first of them. Empty of all else, and of what cannot be read: that is
/// measured anew.
std::string made_otherwise(std::string const& path, std::string const& id, CaseOrigin const& run) {
  try {
    auto const there = open_case(path, id, "study", run, Agreement::numbers);
    return there.invalid.empty() ? there.other : "";
  } catch (RunError const&) {
    return "";
  }
}

}  // namespace

void check_nothing_replaced(RunConfig const& config, StudyPlan const& plan) {
  for (auto const& group : plan.groups) {
    for (auto const& item : group.cases) {
      auto const path = case_path(config.output, item.id);
      std::error_code error;
      if (!std::filesystem::exists(path, error)) continue;
      auto const other = made_otherwise(path, item.id, origin_of(config, group));
      if (!other.empty())
        throw UsageError("--resume", path,
                         "is finished, of other options (" + other + "): another --output keeps it, --force without --resume replaces it");
    }
  }
}

std::optional<RunConfig> with_kept_contents(Communicator const& comm, RunConfig const& config, StudyPlan const& plan) {
  std::string k, epsilon, count_above;
  if (comm.is_root()) {
    auto const asked = asked_contents(config), held = held_contents(config, plan);
    k = list_beside(asked.k, held.k);
    epsilon = list_beside(asked.epsilon, held.epsilon);
    count_above = list_beside(asked.count_above, held.count_above);
  }
  for (auto* list : {&k, &epsilon, &count_above}) comm.broadcast(*list);
  if (k.empty() && epsilon.empty() && count_above.empty()) return std::nullopt;
  auto wide = config;
  wide.asked = std::make_shared<RunConfig const>(config);
  std::string said;
  auto const add = [&](std::string const& option, std::string const& list, auto& values, auto const& parse) {
    if (list.empty()) return;
    std::ranges::copy(parse("--" + option, list), std::back_inserter(values));
    wide.config_text = with_more(wide.config_text, option, list);
    said += " --" + option + " " + list;
  };
  add("k", k, wide.k, parse_laws);
  add("epsilon", epsilon, wide.epsilon, [](std::string const&, std::string const& list) { return parse_epsilons(list); });
  add("count-above", count_above, wide.count_above, parse_laws);
  if (comm.is_root())
    std::cerr << "asymptop: finished cases that lack something are measured again with what they hold beside it:" + said + "\n"
              << std::flush;
  return wide;
}

}  // namespace asymptop
