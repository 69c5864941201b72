#include "study/study.hpp"

#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kernels/device/memory.hpp"
#include "launch/performance_tools.hpp"
#include "results/json_text.hpp"
#include "study/files/case_file.hpp"
#include "study/files/checkpoints.hpp"
#include "study/files/kept_contents.hpp"
#include "study/files/plan_records.hpp"
#include "study/files/records.hpp"

namespace asymptop {
namespace {

/// Within a draw: its group's checkpoints, and requests to stop.
class Breaks final : public DrawBreaks {
 public:
  Breaks(Checkpoints& checkpoints, std::vector<StudyCase>& cases, Communicator const& team, TeamStop& stop)
      : checkpoints_(checkpoints), cases_(cases), team_(team), stop_(stop) {}
  Answer ask() override {
    if (stop_.wanted()) return Answer::stop;
    auto const due = team_.max(std::int64_t{team_.is_root() && checkpoints_.due()});
    return due != 0 ? Answer::save : Answer::go_on;
  }
  void save(PartialDraw const& partial) override { checkpoints_.write(cases_, partial); }

 private:
  Checkpoints& checkpoints_;
  std::vector<StudyCase>& cases_;
  Communicator const& team_;
  TeamStop& stop_;
};

void append(StudyCase& item, DrawResult const& result, std::size_t law) {
  item.data.append(result.cases[law]);
  item.checks.note(result.checks[law]);
  item.phase_seconds.insert(item.phase_seconds.end(), result.phase_seconds.begin(), result.phase_seconds.end());
}

/// `n64-d64-sigma1, n64-d64-sigma2 and 3 more`.
std::string names_of(std::vector<std::string> const& paths) {
  constexpr std::size_t most = 4;
  std::string names;
  for (std::size_t i = 0; i < std::min(most, paths.size()); ++i)
    names += (i == 0 ? "" : ", ") + std::filesystem::path(paths[i]).stem().string();
  return names + (paths.size() > most ? " and " + std::to_string(paths.size() - most) + " more" : "");
}

}  // namespace

Study::Study(Communicator const& comm, RunConfig const& config, Machine machine, StudyPlan plan)
    : Measurement(comm, config),
      config_(config),
      machine_(std::move(machine)),
      plan_(std::move(plan)),
      team_index_(plan_.team_of(comm.rank())),
      team_(comm.split(checked_int(team_index_))),
      stop_(comm, team_),
      target_(config) {
  check_target_metrics(config, plan_);
}

/// A case before its first draw.
StudyCase Study::start_case(GroupPlan const& group, std::size_t law) const {
  StudyCase item;
  item.config = &config_;
  item.group = &group;
  item.law = law;
  item.input = input_name(group);
  return item;
}

nlohmann::ordered_json Study::plan_record() const {
  CaseStates states;
  for (auto const& group : plan_.groups) {
    for (std::size_t law = 0; law < group.cases.size() && config_.resume; ++law) {
      auto item = start_case(group, law);
      states[item.plan().id] = case_state(case_path(config_.output, item.plan().id), item);
    }
  }
  bool const simulated = !plan_.groups.empty() && plan_.groups.front().simulated;
  auto json = plan_head(simulated ? "simulate" : "study", machine_, plan_.skips);
  add_plan(json, plan_, config_, states);
  return json;
}

void Study::check_output() const {
  asymptop::check_output(config_.output, config_.force, config_.resume);
  if (config_.resume && !config_.case_files_only) check_nothing_lost(config_, plan_);
  if (config_.resume) check_nothing_replaced(config_, plan_);
}

std::optional<RunConfig> Study::with_kept() const { return config_.resume ? with_kept_contents(comm_, config_, plan_) : std::nullopt; }

int Study::run() {
  source_ = make_source(team_);
  provenance_ = provenance("study", machine_.threads);
  provenance_.integers.emplace_back("groups", std::ssize(plan_.teams));
  check_on_root(comm_, [&] { begin_output(config_); });
  double done = 0.0;
  Progress progress(comm_.is_root(), plan_.teams[team_index_].seconds);
  print(lowered_lines(plan_.lowered) + table_heading());
  int exit_code = 0;
  for (std::size_t i = 0; i < plan_.groups.size() && exit_code != exit_stopped; ++i) {
    auto const& group = plan_.groups[i];
    if (group.team != team_index_) continue;
    exit_code = std::max(exit_code, run_group(i, progress, done));
    done += group.seconds;
  }
  progress.clear();
  bool const stopped = stop_.leave(exit_code == exit_stopped);
  collect_reports();
  return stopped ? finish_stopped() : finish_all(exit_code);
}

/// With --resume, finished cases enter the table and the records as if measured now; the group's others are measured together. Returns
/// the exit code; exit_stopped when the group is not finished.
int Study::run_group(std::size_t index, Progress& progress, double done) {
  auto const& group = plan_.groups[index];
  std::vector<StudyCase> cases;
  for (std::size_t law = 0; law < group.cases.size(); ++law) cases.push_back(start_case(group, law));
  Resumed resumed;
  resumed.finished.assign(cases.size(), 0);
  if (config_.resume && team_.is_root()) resumed = resume_cases(config_.output, provenance_, cases);
  for (auto const& line : resumed.said) std::cerr << "asymptop: " + line + "\n" << std::flush;
  team_.broadcast(resumed.finished);
  // A draw in work is of the cases that are left, whose first gives it its name.
  if (team_.is_root() && resumed.finished.front() != 0) remove_draw(config_.output, cases.front());
  Rest rest{index, group_left(group, resumed.finished), {}, {}, resumed.fewest_draws};
  progress.clear();
  for (std::size_t law = 0; law < cases.size(); ++law) {
    if (resumed.finished[law] == 0) {
      auto& item = rest.cases.emplace_back(std::move(cases[law]));
      item.group = &rest.group;
      item.law = rest.laws.size();
      rest.laws.push_back(law);
    } else if (team_.is_root()) {
      rest.fewest_draws = std::max(rest.fewest_draws, cases[law].draws());
      report({index, law}, cases[law], resumed.sgemm_gflops[law]);
    }
  }
  return rest.cases.empty() ? 0 : measure(rest, team_.max(resumed.draws), progress, done);
}

/// The draws from `first` on.
int Study::measure(Rest& rest, std::int64_t first, Progress& progress, double done) {
  auto const& group = rest.group;
  auto& cases = rest.cases;
  if (stop_.wanted()) return exit_stopped;
  FoundDraw found;
  if (config_.resume && team_.is_root()) found = find_draw(config_.output, provenance_, cases.front(), first);
  if (!found.refused.empty()) std::cerr << "asymptop: " + found.refused + "\n" << std::flush;
  Checkpoints checkpoints(config_, provenance_);
  checkpoints.start(cases, std::max(cases.front().seconds_total, found.seconds_total));
  Breaks breaks(checkpoints, cases, team_, stop_);
  device::reset_most_memory();
  double const sgemm = source_->start(rest.index, group, breaks);
  provenance_.numbers = {{"sgemm_gflops", sgemm}};
  start_target(rest.index);
  auto const most = group.counts.most_draws;
  auto goal = team_.max(team_.is_root() ? std::max(goal_after(cases, most), rest.fewest_draws) : 0);
  auto const fewest = team_.max(rest.fewest_draws);
  for (std::int64_t draw = first, end = first; draw < goal; draw = end) {
    progress.update(done + group.seconds * exact_double(draw) / exact_double(goal),
                    "n = " + std::to_string(group.n) + ", draw " + std::to_string(draw + 1) + " of " + std::to_string(goal));
    end = std::min(goal, draw + source_->at_once());
    auto const result = source_->make(draw, end, std::exchange(found.partial, {}));
    if (result.stopped) return stopped_after(draw, goal);
    double const device_peak = group.device_bytes > 0.0 ? team_.max(exact_double(device::most_memory())) : 0.0;
    for (std::size_t law = 0; law < cases.size() && team_.is_root(); ++law) {
      append(cases[law], result, law);
      cases[law].device_peak_bytes = device_peak;
    }
    goal = std::max(target_.goal(team_, cases, end, goal, most), fewest);
    if (end == goal) break;
    if (team_.is_root()) checkpoints.added(cases);
    if (!stop_.wanted()) continue;
    if (team_.is_root()) checkpoints.write(cases);
    return stopped_after(end, goal);
  }
  if (!team_.is_root()) return 0;
  progress.clear();
  return finish_cases(rest, sgemm, checkpoints.seconds_total());
}

int Study::finish_cases(Rest& rest, double sgemm, double seconds) {
  int exit_code = 0;
  for (std::size_t i = 0; i < rest.cases.size(); ++i) {
    auto& item = rest.cases[i];
    item.seconds_total = seconds;
    write_case(config_.output, provenance_, item);
    report({rest.index, rest.laws[i]}, item, sgemm);
    if (!item.verdict_reason().empty()) exit_code = 1;
  }
  remove_draw(config_.output, rest.cases.front());
  return exit_code;
}

int Study::stopped_after(std::int64_t draws, std::int64_t wanted) {
  draws_in_work_ = draws;
  draws_wanted_ = wanted;
  return exit_stopped;
}

/// Time for more draws goes to the groups that are still to come as their estimates do.
void Study::start_target(std::size_t index) {
  double to_come = 0.0;
  for (std::size_t i = index; i < plan_.groups.size(); ++i) to_come += plan_.groups[i].team == team_index_ ? plan_.groups[i].seconds : 0.0;
  target_.start(plan_.groups[index].seconds, to_come);
}

/// A finished case: rank 0 shows its own at once; those of other teams follow in the end.
void Study::report(CasePlace const& place, StudyCase const& item, double sgemm) {
  auto const& made =
      reports_[place] = {table_rows(item, sgemm), record_lines(item), missed_line(item), item.score_flops(), item.pass_seconds(), sgemm};
  print(made.table);
  report_to_adiak("kernel_path", item.path());
}

/// Brings the reports of other teams to rank 0, which shows them. No team goes on before all are done.
void Study::collect_reports() {
  nlohmann::json mine = nlohmann::json::array();
  if (!comm_.is_root()) {
    for (auto const& [place, made] : reports_)
      mine.push_back({place, made.table, made.records, made.missed, made.pass_flops, made.pass_seconds, made.sgemm});
  }
  std::map<CasePlace, CaseReport> others;
  for (auto const& text : comm_.gather(json_text(mine))) {
    for (auto const& made : nlohmann::json::parse(text))
      others[made[0].get<CasePlace>()] = {made[1].get<std::string>(), made[2].get<std::vector<std::string>>(),
                                          made[3].get<std::string>(), made[4].get<double>(),
                                          made[5].get<double>(),      made[6].get<double>()};
  }
  for (auto const& [place, made] : others) print(made.table);
  reports_.merge(others);
  comm_.barrier();
}

int Study::finish_stopped() const {
  std::size_t cases = 0;
  for (auto const& group : plan_.groups) cases += group.cases.size();
  auto const most = comm_.max(draws_in_work_), wanted = std::max(config_.draws, comm_.max(draws_wanted_));
  print(stopped_line(reports_.size(), cases, stopped_in(most, wanted)));
  return exit_stopped;
}

/// Of all groups: the cases of one share its passes.
std::vector<FigureOfMerit> Study::figures() const {
  double flops = 0.0, best = 0.0, seconds = 0.0;
  for (auto next = reports_.begin(); next != reports_.end(); next = reports_.upper_bound({next->first.first, SIZE_MAX})) {
    auto const& made = next->second;
    if (!(made.pass_seconds > 0.0)) continue;
    flops += made.pass_flops;
    best += made.sgemm * 1e9 * made.pass_seconds;
    seconds += made.pass_seconds;
  }
  std::vector<FigureOfMerit> figures{{"cases", exact_double(reports_.size()), "1"}};
  if (flops > 0.0)
    figures.insert(figures.end(), {{"pass-rate", flops / seconds / 1e9, "GFLOP/s"}, {"pass-rate-of-sgemm", 100.0 * flops / best, "%"}});
  return figures;
}

int Study::finish_all(int exit_code) {
  std::vector<std::string> paths;
  for (auto const& group : plan_.groups) {
    for (auto const& item : group.cases) paths.push_back(case_path(config_.output, item.id));
  }
  Ending ending{{}, figures()};
  if (config_.case_files_only) ending.output_suffix = ".cases";
  if (comm_.is_root() && !config_.case_files_only) {
    auto const others = config_.resume ? other_cases(config_, plan_, paths) : OtherCases{};
    paths.insert(paths.end(), others.kept.begin(), others.kept.end());
    join_cases(config_.output, provenance_, paths);
    for (auto const& line : others.left_out) std::cerr << "asymptop: " + line + "\n" << std::flush;
    if (!others.kept.empty())
      ending.remarks +=
          "kept: " + std::to_string(others.kept.size()) + " finished case(s) beside those of this run: " + names_of(others.kept) + "\n";
  }
  for (auto const& [place, made] : reports_) {
    ending.records.insert(ending.records.end(), made.records.begin(), made.records.end());
    ending.remarks += made.missed;
  }
  return finish(ending, exit_code == 0);
}

}  // namespace asymptop
