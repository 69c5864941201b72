// asymptop study: options -> plan -> measure each group of cases -> case files -> one results file.
#include "study/command.hpp"

#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "config/errors.hpp"
#include "launch/input.hpp"
#include "launch/launch.hpp"
#include "launch/machine.hpp"
#include "launch/progress.hpp"
#include "launch/stop.hpp"
#include "launch/together.hpp"
#include "results/json_text.hpp"
#include "results/whole_file.hpp"
#include "study/draw.hpp"
#include "study/files/case_file.hpp"
#include "study/files/checkpoints.hpp"
#include "study/files/draw_target.hpp"
#include "study/files/plan_records.hpp"
#include "study/files/records.hpp"

namespace asymptop {
namespace {

/// The tensors of every group, before anything is written.
std::vector<TensorScan> scan_heads(Communicator const& comm, Input const& input, StudyPlan const& plan, RunConfig const& config) {
  std::vector<TensorScan> scans;
  // Each over its own keys: bins, and with them the last digits of sums, do not depend on what else is studied.
  for (auto const& group : plan.groups) {
    scans.push_back(input.file != nullptr ? scan_together(comm, *input.file, group.head, group.n, config.block) : TensorScan{});
    double const span = 2.0 * group.scale * scans.back().query_norm * scans.back().key_radius;
    if (input.file != nullptr && span * group.bins_per_unit > 9e5) {
      throw UsageError("--input", config.input,
                       "has queries and keys of head " + std::to_string(group.head) + " whose logits may span " + std::to_string(span) +
                           "; fp32 logits can be profiled over a span of " + std::to_string(9e5 / group.bins_per_unit) +
                           ", check the tensors and --scale");
    }
  }
  return scans;
}

StudyCase start_case(RunConfig const& config, Input const& input, GroupPlan const& group, std::size_t law) {
  StudyCase item;
  item.config = &config;
  item.group = &group;
  item.law = law;
  item.input = input.file == nullptr ? name_of(group.input) : input.shape.name;
  return item;
}

/// The plan for people, and with --json for programs; with --resume that says what each case's file is worth.
void show_plan(StudyPlan const& plan, RunConfig const& config, Input const& input, Machine const& machine) {
  (config.json == "-" ? std::cerr : std::cout) << input_line(input.shape) << describe(plan, config, machine);
  if (config.json.empty()) return;
  CaseStates states;
  for (auto const& group : plan.groups) {
    for (std::size_t law = 0; law < group.cases.size() && config.resume; ++law) {
      auto item = start_case(config, input, group, law);
      states[item.plan().id] = case_state(case_path(config.output, item.plan().id), item);
    }
  }
  write_records(config.json, plan_record(plan, config, machine, states));
}

/// Within a draw: its group's checkpoints, and requests to stop.
class Breaks final : public DrawBreaks {
 public:
  Breaks(Checkpoints& checkpoints, std::vector<StudyCase>& cases, Communicator const& team, TeamStop& stop)
      : checkpoints_(checkpoints), cases_(cases), team_(team), stop_(stop) {}
  Answer ask() override {
    if (stop_.wanted()) return Answer::stop;
    auto const due = team_.max(static_cast<std::int64_t>(team_.is_root() && checkpoints_.due() ? 1 : 0));
    return due != 0 ? Answer::save : Answer::go_on;
  }
  void save(PartialDraw const& partial) override { checkpoints_.write(cases_, partial); }

 private:
  Checkpoints& checkpoints_;
  std::vector<StudyCase>& cases_;
  Communicator const& team_;
  TeamStop& stop_;
};

/// A group of the plan and a case of it.
using CasePlace = std::pair<std::size_t, std::size_t>;

class Study {
 public:
  Study(Communicator const& comm, RunConfig const& config, Input const& input, StudyPlan const& plan, Machine const& machine)
      : comm_(comm),
        team_index_(plan.team_of(comm.rank())),
        team_(comm.split(static_cast<int>(team_index_))),
        channels_(team_),
        stop_(comm, team_),
        config_(config),
        input_(input),
        plan_(plan),
        scans_(scan_heads(comm, input, plan, config)),
        provenance_(
            collect_provenance(comm, {"study", config.command_line, config.config_text, config.seed, config.block, machine.threads}, {})) {
    provenance_.integers.emplace_back("groups", static_cast<std::int64_t>(plan.teams.size()));
  }

  /// Measures every group of this rank's team that is not finished yet. Returns the exit code.
  int run() {
    prepare_output();
    double done = 0.0;
    Progress progress(comm_.is_root(), plan_.teams[team_index_].seconds);
    print(table_heading());
    int exit_code = 0;
    for (std::size_t i = 0; i < plan_.groups.size() && exit_code != exit_stopped; ++i) {
      auto const& group = plan_.groups[i];
      if (group.team != team_index_) continue;
      exit_code = std::max(exit_code, run_group(i, progress, done));
      done += group.seconds;
    }
    progress.clear();
    bool const stopped = stop_.leave(exit_code == exit_stopped);
    collect();
    if (stopped) {
      tell_stopped();
      return exit_stopped;
    }
    finish();
    return static_cast<int>(comm_.max(static_cast<std::int64_t>(exit_code)));
  }

 private:
  void print(std::string const& text) const {
    if (comm_.is_root()) (config_.json == "-" ? std::cerr : std::cout) << text << std::flush;
  }

  void prepare_output() const {
    check_on_root(comm_, [&] { begin_output(config_); });
  }

  StudyCase start_case(GroupPlan const& group, std::size_t law) const { return asymptop::start_case(config_, input_, group, law); }

  std::vector<StudyCase> start_cases(GroupPlan const& group) const {
    std::vector<StudyCase> cases;
    for (std::size_t law = 0; law < group.cases.size(); ++law) cases.push_back(start_case(group, law));
    return cases;
  }

  /// With --resume, finished cases enter the table and the records as if measured now; the group's others are measured together. Returns
  /// the exit code; exit_stopped when the group is not finished.
  int run_group(std::size_t index, Progress& progress, double done) {
    auto const& group = plan_.groups[index];
    auto cases = start_cases(group);
    Resumed resumed;
    resumed.finished.assign(cases.size(), 0);
    if (config_.resume && team_.is_root()) resumed = resume_cases(config_.output, provenance_, cases);
    for (auto const& line : resumed.said) std::cerr << "asymptop: " + line + "\n" << std::flush;
    team_.broadcast(resumed.finished);
    // A draw in work is of the cases that are left, whose first gives it its name.
    if (team_.is_root() && resumed.finished.front() != 0) remove_draw(config_.output, cases.front());
    Rest rest{index, group_left(group, resumed.finished), {}, {}, 0};
    progress.clear();
    for (std::size_t law = 0; law < cases.size(); ++law) {
      if (resumed.finished[law] == 0) {
        auto& item = rest.cases.emplace_back(std::move(cases[law]));
        item.group = &rest.group;
        item.law = rest.laws.size();
        rest.laws.push_back(law);
      } else if (team_.is_root()) {
        rest.fewest_draws = std::max(rest.fewest_draws, cases[law].draws());
        tell({index, law}, cases[law], resumed.sgemm_gflops[law]);
      }
    }
    return rest.cases.empty() ? 0 : measure(rest, team_.max(resumed.draws), progress, done);
  }

  /// The cases of a group that are to be measured.
  struct Rest {
    std::size_t index;  ///< of the group
    GroupPlan group;
    std::vector<StudyCase> cases;
    std::vector<std::size_t> laws;  ///< where each stands in the whole group
    std::int64_t fewest_draws = 0;  ///< those of the finished ones: a group's cases share their draws
  };

  /// The draws from `first` on.
  int measure(Rest& rest, std::int64_t first, Progress& progress, double done) {
    auto const& group = rest.group;
    auto const index = rest.index;
    auto& cases = rest.cases;
    if (stop_.wanted()) return exit_stopped;
    FoundDraw found;
    if (config_.resume && team_.is_root()) found = find_draw(config_.output, provenance_, cases.front(), first);
    if (!found.refused.empty()) std::cerr << "asymptop: " + found.refused + "\n" << std::flush;
    Checkpoints checkpoints(config_, provenance_);
    checkpoints.start(cases, std::max(cases.front().seconds_total, found.seconds_total));
    Breaks breaks(checkpoints, cases, team_, stop_);
    double const sgemm = sgemm_rate(team_, group, config_);
    provenance_.numbers = {{"sgemm_gflops", sgemm}};
    auto tensors = make_shard(team_, group, config_);
    StudySetup const setup{&team_,   &channels_, &config_, input_.file.get(), input_.file == nullptr ? nullptr : &scans_[index],
                           &tensors, &breaks};
    start_target(index);
    auto const most = most_draws(group, config_);
    auto goal = team_.max(team_.is_root() ? std::max(goal_after(cases, most), rest.fewest_draws) : 0);
    auto const fewest = team_.max(rest.fewest_draws);
    for (auto draw = first; draw < goal; ++draw) {
      progress.update(done + group.seconds * static_cast<double>(draw) / static_cast<double>(goal),
                      "n = " + std::to_string(group.n) + ", draw " + std::to_string(draw + 1) + " of " + std::to_string(goal));
      auto const result = run_draw(setup, group, draw, std::exchange(found.partial, {}));
      if (result.stopped) return stopped_after(draw, goal);
      for (std::size_t law = 0; law < cases.size() && team_.is_root(); ++law) append(cases[law], result, law);
      goal = std::max(target_.goal(team_, cases, draw + 1, goal, most), fewest);
      if (draw + 1 == goal) break;
      if (team_.is_root()) checkpoints.added(cases);
      if (!stop_.wanted()) continue;
      if (team_.is_root()) checkpoints.write(cases);
      return stopped_after(draw + 1, goal);
    }
    if (!team_.is_root()) return 0;
    progress.clear();
    int exit_code = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      auto& item = cases[i];
      item.seconds_total = checkpoints.seconds_total();
      write_case(config_.output, provenance_, item);
      tell({index, rest.laws[i]}, item, sgemm);
      if (!item.verdict_reason().empty()) exit_code = 1;
    }
    remove_draw(config_.output, cases.front());
    return exit_code;
  }

  int stopped_after(std::int64_t draws, std::int64_t wanted) {
    draws_in_work_ = draws;
    draws_wanted_ = wanted;
    return exit_stopped;
  }

  /// Time for more draws goes to the groups that are still to come as their estimates do.
  void start_target(std::size_t index) {
    double to_come = 0.0;
    for (std::size_t i = index; i < plan_.groups.size(); ++i)
      to_come += plan_.groups[i].team == team_index_ ? plan_.groups[i].seconds : 0.0;
    target_.start(plan_.groups[index].seconds, to_come);
  }

  /// A finished case: rank 0 shows its own at once; those of other teams follow in the end.
  void tell(CasePlace const& place, StudyCase const& item, double sgemm) {
    auto const& told = told_[place] = {table_rows(item, sgemm), record_lines(item), missed_line(item)};
    print(told.table);
  }

  /// Brings what other teams have to tell to rank 0, which shows it. No team goes on before all are done.
  void collect() {
    nlohmann::json mine = nlohmann::json::array();
    if (!comm_.is_root()) {
      for (auto const& [place, told] : told_) mine.push_back({place, told.table, told.records, told.missed});
    }
    std::map<CasePlace, Told> others;
    for (auto const& text : comm_.gather(json_text(mine))) {
      for (auto const& told : nlohmann::json::parse(text))
        others[told[0].get<CasePlace>()] = {told[1].get<std::string>(), told[2].get<std::vector<std::string>>(),
                                            told[3].get<std::string>()};
    }
    for (auto const& [place, told] : others) print(told.table);
    told_.merge(others);
    comm_.barrier();
  }

  static void append(StudyCase& item, DrawResult const& result, std::size_t law) {
    item.data.append(result.cases[law]);
    for (std::size_t i = 0; i < check_names.size(); ++i) item.checks.note(static_cast<Check>(i), result.checks[law].worst[i]);
    item.phase_seconds.push_back(result.phase_seconds);
  }

  void tell_stopped() const {
    std::size_t cases = 0;
    for (auto const& group : plan_.groups) cases += group.cases.size();
    auto const most = comm_.max(draws_in_work_), wanted = std::max(config_.draws, comm_.max(draws_wanted_));
    print(stopped_line(told_.size(), cases, stopped_in(most, wanted)));
  }

  void finish() const {
    if (!comm_.is_root()) return;
    std::vector<std::string> paths;
    for (auto const& group : plan_.groups) {
      for (auto const& item : group.cases) paths.push_back(case_path(config_.output, item.id));
    }
    if (!config_.case_files_only) merge_cases(config_.output, paths);
    RecordList records;
    for (auto const& [place, told] : told_) {
      for (auto const& record : told.records) records.add(record);
    }
    if (!config_.json.empty()) records.write(config_.json);
    for (auto const& [place, told] : told_) print(told.missed);
    print("results: " + config_.output + (config_.case_files_only ? ".cases" : "") + "\n");
  }

  /// What the table and the records say of a case.
  struct Told {
    std::string table;
    std::vector<std::string> records;
    std::string missed;
  };

  Communicator const& comm_;
  std::size_t team_index_;
  Communicator team_;
  BatchChannels channels_;
  TeamStop stop_;
  RunConfig const& config_;
  Input const& input_;
  StudyPlan const& plan_;
  std::vector<TensorScan> scans_;
  Provenance provenance_;
  std::map<CasePlace, Told> told_;
  std::int64_t draws_in_work_ = 0, draws_wanted_ = 0;  ///< of a group that was left unfinished
  DrawTarget target_{config_};
};

int run_study(Communicator const& comm, int argc, char const* const* argv) {
  auto config = together(comm, [&] {
    auto parsed = parse_study_options(argc, argv, comm.is_root());
    if (parsed) check_target_metrics(*parsed);
    return parsed;
  });
  if (!config) return 0;
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];

  auto const input = open_input(comm, config->input);
  auto const machine = config->machine ? assume_machine(*config->machine) : describe_machine(comm);
  auto const plan = plan_study(*config, input.shape, machine);
  if (config->dry_run) {
    check_on_root(comm, [&] {
      check_apart({{"--output", config->output}, {"--json", config->json}},
                  {{"--config", config->config_file}, {"--input", config->input}});
      check_records_path(config->json);
      show_plan(plan, *config, input, machine);
    });
    return 0;
  }
  if (config->mpi_memory == MpiMemory::device && !is_host_space<RunSpace> && !mpi_takes_device_memory())
    throw UsageError("--mpi-memory", "device", "needs an MPI that reads device memory, which this one does not say it does");
  check_launch(comm);
  check_on_root(comm, [&] {
    check_apart({{"--output", config->output}, {"--json", config->json}}, {{"--config", config->config_file}, {"--input", config->input}});
    check_output(config->output, config->force, config->resume);
    check_records_path(config->json);
  });
  if (comm.is_root()) {
    auto& out = config->json == "-" ? std::cerr : std::cout;
    out << input_line(input.shape) << describe(plan, *config, machine) << std::flush;
  }
  return Study(comm, *config, input, plan, machine).run();
}

}  // namespace

Command study_command() {
  return {"study", "measure error of top-k attention, k_epsilon and effective entries over context lengths n; writes HDF5", run_study,
          threads_of<parse_study_options>, true};
}

}  // namespace asymptop
