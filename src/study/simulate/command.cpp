// asymptop simulate: options -> plan -> simulate each group of cases -> case files -> one results file, as a study's.
#include "study/simulate/command.hpp"

#include <algorithm>
#include <iostream>

#include "launch/launch.hpp"
#include "launch/machine.hpp"
#include "launch/progress.hpp"
#include "launch/stop.hpp"
#include "launch/together.hpp"
#include "results/whole_file.hpp"
#include "study/files/case_file.hpp"
#include "study/files/checkpoints.hpp"
#include "study/files/draw_target.hpp"
#include "study/files/records.hpp"
#include "study/simulate/plan.hpp"
#include "study/simulate/simulation.hpp"

namespace asymptop {
namespace {

/// Rows between two gathers: enough to share out, few enough to hold and to show progress by.
constexpr std::int64_t rows_per_gather = 2048;

class Simulation {
 public:
  Simulation(Communicator const& comm, RunConfig const& config, StudyPlan const& plan, Machine const& machine)
      : comm_(comm), config_(config), plan_(plan) {
    // Without keys there is no sgemm to stand beside.
    provenance_ = collect_provenance(comm, {"study", config.command_line, config.config_text, config.seed, config.block, machine.threads},
                                     {{"sgemm_gflops", 0.0}});
    provenance_.integers.emplace_back("groups", 1);
  }

  /// Returns the exit code.
  int run() {
    check_on_root(comm_, [&] { begin_output(config_); });
    double total = 0.0, done = 0.0;
    for (auto const& group : plan_.groups) total += group.seconds;
    Progress progress(comm_.is_root(), total);
    print(table_heading());
    int exit_code = 0;
    for (auto const& group : plan_.groups) {
      to_come_ = total - done;
      exit_code = std::max(exit_code, run_group(group, progress, done));
      if (exit_code == exit_stopped) break;
      done += group.seconds;
    }
    progress.clear();
    exit_code = static_cast<int>(comm_.max(static_cast<std::int64_t>(exit_code)));
    if (exit_code == exit_stopped) {
      std::size_t cases = 0;
      for (auto const& group : plan_.groups) cases += group.cases.size();
      print(stopped_line(cases_finished_, cases, stopped_in(draws_in_work_, std::max(config_.draws, draws_wanted_))));
      return exit_code;
    }
    finish();
    return exit_code;
  }

 private:
  using Clock = PhaseTimes::Clock;

  void print(std::string const& text) const {
    if (comm_.is_root()) (config_.json == "-" ? std::cerr : std::cout) << text << std::flush;
  }

  std::vector<StudyCase> start_cases(GroupPlan const& group) const {
    std::vector<StudyCase> cases(group.cases.size());
    for (std::size_t law = 0; law < cases.size(); ++law) {
      cases[law].config = &config_;
      cases[law].group = &group;
      cases[law].law = law;
      cases[law].input = "simulated";
    }
    return cases;
  }

  /// With --resume, finished cases enter the table and the records as if simulated now. Returns the exit code; exit_stopped when the group
  /// is not finished.
  int run_group(GroupPlan const& group, Progress& progress, double done) {
    auto cases = start_cases(group);
    Resumed resumed;
    resumed.finished.assign(cases.size(), 0);
    if (config_.resume && comm_.is_root()) resumed = resume_cases(config_.output, provenance_, cases);
    for (auto const& line : resumed.said) std::cerr << "asymptop: " + line + "\n" << std::flush;
    comm_.broadcast(resumed.finished);
    auto const rest = group_left(group, resumed.finished);
    progress.clear();
    std::vector<StudyCase> left, finished;
    for (std::size_t law = 0; law < cases.size(); ++law) {
      auto& item = (resumed.finished[law] == 0 ? left : finished).emplace_back(std::move(cases[law]));
      if (resumed.finished[law] != 0) continue;
      item.group = &rest;
      item.law = left.size() - 1;
    }
    std::int64_t fewest = 0;  // a group's cases share their draws
    for (auto const& item : finished) fewest = std::max(fewest, item.draws());
    if (comm_.is_root()) tell(finished);
    cases_finished_ += finished.size();
    return left.empty() ? 0 : simulate(rest, left, comm_.max(resumed.draws), comm_.max(fewest), progress, done);
  }

  void tell(std::vector<StudyCase> const& cases) {
    for (auto const& item : cases) {
      for (auto& record : record_lines(item)) records_.add(std::move(record));
      print(table_rows(item, 0.0));
      missed_ += missed_line(item);
    }
  }

  /// The draws from `begin` on, `fewest` at least.
  int simulate(GroupPlan const& group, std::vector<StudyCase>& cases, std::int64_t begin, std::int64_t fewest, Progress& progress,
               double done) {
    Checkpoints checkpoints(config_, provenance_);
    checkpoints.start(cases, cases.front().seconds_total);
    auto const ranks = drawn_ranks(group.n, group.k);
    auto const step = std::max<std::int64_t>(1, rows_per_gather / config_.rows);
    target_.start(group.seconds, to_come_);
    auto const most = most_draws(group, config_);
    auto goal = std::max(comm_.max(comm_.is_root() ? goal_after(cases, most) : 0), fewest);
    for (std::int64_t first = begin, end = 0; first < goal; first = end) {
      if (stop_wanted(comm_)) {
        if (comm_.is_root()) checkpoints.write(cases);
        draws_in_work_ = first;
        draws_wanted_ = goal;
        return exit_stopped;
      }
      progress.update(done + group.seconds * static_cast<double>(first) / static_cast<double>(goal),
                      "n = " + std::to_string(group.n) + ", draw " + std::to_string(first + 1) + " of " + std::to_string(goal));
      end = std::min(goal, first + step);
      auto const start = Clock::now();
      auto result = simulate_draws(comm_, config_, group, ranks, first, end);
      double const seconds = comm_.max(std::chrono::duration<double>(Clock::now() - start).count());
      for (std::size_t law = 0; law < cases.size() && comm_.is_root(); ++law)
        append(cases[law], result.cases[law], result.checks[law], end - first, seconds);
      goal = std::max(target_.goal(comm_, cases, end, goal, most), fewest);
      if (comm_.is_root() && end < goal) checkpoints.added(cases);
    }
    if (!comm_.is_root()) return 0;
    progress.clear();
    int exit_code = 0;
    for (auto& item : cases) {
      item.seconds_total = checkpoints.seconds_total();
      write_case(config_.output, provenance_, item);
      if (!item.verdict_reason().empty()) exit_code = 1;
    }
    tell(cases);
    cases_finished_ += cases.size();
    return exit_code;
  }

  /// `seconds` for all laws of `draws` draws, which were made side by side.
  static void append(StudyCase& item, CaseData const& data, CheckResiduals const& checks, std::int64_t draws, double seconds) {
    item.data.append(data);
    for (std::size_t i = 0; i < check_names.size(); ++i) item.checks.note(static_cast<Check>(i), checks.worst[i]);
    std::array<double, phase_names.size()> times{};
    for (auto const phase : {Phase::generate, Phase::first_pass, Phase::total})
      times[static_cast<std::size_t>(phase)] = seconds / static_cast<double>(draws);
    item.phase_seconds.insert(item.phase_seconds.end(), static_cast<std::size_t>(draws), times);
  }

  void finish() const {
    if (!comm_.is_root()) return;
    std::vector<std::string> paths;
    for (auto const& group : plan_.groups) {
      for (auto const& item : group.cases) paths.push_back(case_path(config_.output, item.id));
    }
    merge_cases(config_.output, paths);
    if (!config_.json.empty()) records_.write(config_.json);
    print(missed_);
    print("results: " + config_.output + "\n");
  }

  Communicator const& comm_;
  RunConfig const& config_;
  StudyPlan const& plan_;
  Provenance provenance_;
  RecordList records_;
  std::string missed_;  ///< cases that did not meet their target
  DrawTarget target_{config_};
  std::size_t cases_finished_ = 0;
  double to_come_ = 0.0;                               ///< estimated seconds of the group in work and of those after it
  std::int64_t draws_in_work_ = 0, draws_wanted_ = 0;  ///< of a group that was left unfinished
};

int run_simulate(Communicator const& comm, int argc, char const* const* argv) {
  auto config = parse_simulate_options(argc, argv, comm.is_root());
  if (!config) return 0;
  check_target_metrics(*config);
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];

  auto const machine = describe_machine(comm);
  auto const plan = plan_simulation(*config, machine);
  if (config->dry_run) {
    if (comm.is_root()) std::cout << describe_simulation(plan, *config, machine);
    return 0;
  }
  check_launch(comm);
  check_on_root(comm, [&] {
    check_apart({{"--output", config->output}, {"--json", config->json}}, {{"--config", config->config_file}});
    check_output(config->output, config->force, config->resume);
    check_records_path(config->json);
  });
  if (comm.is_root()) (config->json == "-" ? std::cerr : std::cout) << describe_simulation(plan, *config, machine) << std::flush;
  return Simulation(comm, *config, plan, machine).run();
}

}  // namespace

Command simulate_command() {
  return {"simulate", "the same numbers for rows of independent Gaussian logits without keys, n up to 2^62, in seconds; writes HDF5",
          run_simulate, threads_of<parse_simulate_options>, true};
}

}  // namespace asymptop
