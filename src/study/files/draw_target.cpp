#include "study/files/draw_target.hpp"

#include <algorithm>
#include <cmath>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "config/number_text.hpp"
#include "kernels/select/selector.hpp"
#include "study/files/records.hpp"

namespace asymptop {
namespace {

/// Standard error over mean.
double relative_error(Estimate const& value) {
  if (value.mean == 0.0 && value.standard_error == 0.0) return 0.0;
  double const relative = value.standard_error / std::fabs(value.mean);
  return std::isnan(relative) ? INFINITY : relative;
}

/// How many times its target an error is: the largest over the rules in force. At most 1 meets them.
double excess(RunConfig const& config, Estimate const& value) { return relative_error(value) / config.target_se; }

bool wanted(RunConfig const& config, Record const& record) {
  auto const& names = config.target_metrics;
  return names.empty() || std::find(names.begin(), names.end(), record.metric) != names.end();
}

}  // namespace

void check_target_metrics(RunConfig const& config, StudyPlan const& plan) {
  auto const known = recorded_fields();
  bool const selectors = std::any_of(config.selectors.begin(), config.selectors.end(), [](auto const& one) { return !one.is_oracle(); });
  bool const estimators =
      std::any_of(config.selectors.begin(), config.selectors.end(), [](auto const& one) { return have_weights(one.sets()); });
  for (auto const& name : config.target_metrics) {
    auto const field = std::find_if(known.begin(), known.end(), [&](RowField const* one) { return one->name == name; });
    if (field == known.end()) {
      std::string allowed;
      for (auto const* one : known) allowed += (allowed.empty() ? "" : ", ") + std::string(one->name);
      throw UsageError("--target-metrics", name, "is none of: " + allowed);
    }
    auto const presence = (*field)->presence;
    if ((presence == Presence::by_selector || presence == Presence::by_selector_order) && !selectors)
      throw UsageError("--target-metrics", name, "is measured of --selectors other than score");
    if ((presence == Presence::of_tensors || presence == Presence::of_sinks) && config.input.empty())
      throw UsageError("--target-metrics", name, "is measured of tensor files");
    auto const has_sink = [](GroupPlan const& group) { return std::isfinite(group.sink()); };
    if (presence == Presence::of_sinks && !std::any_of(plan.groups.begin(), plan.groups.end(), has_sink))
      throw UsageError("--target-metrics", name,
                       "is measured of heads with learned sinks, and none of " + config.input + " that is studied has one");
    if (presence == Presence::by_estimator && !estimators)
      throw UsageError("--target-metrics", name, "is measured of --selectors that are estimators: random, vattention, magicpig");
  }
}

std::vector<std::string> missed_targets(StudyCase const& study_case) {
  std::vector<std::string> missed;
  auto const& config = *study_case.config;
  if (!config.has_target()) return missed;
  for (auto const& record : records_of(study_case)) {
    if (!wanted(config, record) || excess(config, record.value) <= 1.0) continue;
    missed.push_back(record.metric + (record.parameter.empty() ? "" : "(" + record.parameter + ")") +
                     formatted(" %.3g%%", 100.0 * relative_error(record.value)));
  }
  return missed;
}

std::string why_ended(StudyCase const& study_case) {
  if (missed_targets(study_case).empty()) return "";
  auto const& group = *study_case.group;
  if (study_case.draws() < group.counts.most_draws) return "--max-time was over";
  auto const all = "with all " + std::to_string(study_case.draws()) + " draw(s)";
  if (group.head < 0) return all + " that a study may have";
  return all + " that the texts have room for (--contexts " + name_of(group.contexts.kind) + ", " + std::to_string(group.contexts.texts) +
         " text(s))";
}

std::string target_text(RunConfig const& config) { return formatted("%.4g%%", 100.0 * config.target_se); }

std::string missed_line(StudyCase const& study_case) {
  auto const missed = missed_targets(study_case);
  if (missed.empty()) return "";
  return "--target-se not met by " + study_case.plan().id + ", " + why_ended(study_case) + ": " + joined(missed) + "\n";
}

std::int64_t draws_wanted(std::vector<StudyCase> const& cases, std::int64_t most) {
  double worst = 0.0;
  for (auto const& item : cases) {
    for (auto const& record : records_of(item)) {
      if (wanted(*item.config, record)) worst = std::max(worst, excess(*item.config, record.value));
    }
  }
  auto const done = cases.front().draws();
  if (worst <= 1.0) return done;
  // Errors fall with the root of the draws.
  double const needed = std::ceil(exact_double(done) * std::min(worst * worst, 2.0));
  return std::min(std::max<std::int64_t>(done + 1, std::llround(needed)), std::max(done, most));
}

std::int64_t goal_after(std::vector<StudyCase> cases, std::int64_t most) {
  auto const& config = *cases.front().config;
  std::int64_t goal = cases.front().group->counts.draws;
  auto const whole = cases;
  while (config.has_target() && goal <= whole.front().draws()) {
    cases = whole;
    for (auto& item : cases) item.keep_draws(goal);
    auto const next = draws_wanted(cases, most);
    if (next <= goal) break;
    goal = next;
  }
  return goal;
}

void DrawTarget::start(double estimate, double to_come) {
  double const left = std::max(0.0, config_.max_seconds - seconds());
  deadline_ = seconds() + left * (to_come > 0.0 ? std::min(1.0, estimate / to_come) : 1.0);
}

std::int64_t DrawTarget::goal(Communicator const& comm, std::vector<StudyCase> const& cases, std::int64_t done, std::int64_t goal,
                              std::int64_t most) const {
  if (!config_.has_target() || done < cases.front().group->counts.draws) return goal;
  std::int64_t next = 0;
  if (comm.is_root()) {
    bool const over = config_.max_seconds > 0.0 && seconds() >= deadline_;
    next = over ? done : done < goal ? goal : draws_wanted(cases, most);
  }
  return comm.max(next);
}

}  // namespace asymptop
