// asymptop precision: options -> plan -> the rows of every case in every set of formats -> results file, table and records.
#include "precision/command.hpp"

#include <iostream>

#include "comm/timing.hpp"
#include "launch/launch.hpp"
#include "launch/left_behind.hpp"
#include "launch/machine.hpp"
#include "launch/progress.hpp"
#include "launch/together.hpp"
#include "precision/file.hpp"
#include "results/records.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace {

/// Rows between two gathers: enough to share out, few enough to show progress by.
constexpr std::int64_t rows_per_gather = 64;

class PrecisionStudy {
 public:
  PrecisionStudy(Communicator const& comm, PrecisionConfig const& config, PrecisionPlan const& plan, Machine const& machine)
      : comm_(comm), config_(config), plan_(plan) {
    provenance_ =
        collect_provenance(comm, {"precision", config.command_line, config.config_text, config.seed, config.block, machine.threads}, {});
  }

  /// Returns the exit code.
  int run() {
    double total = 0.0, done = 0.0;
    for (auto const& item : plan_.cases) total += item.seconds;
    Progress progress(comm_.is_root(), total);
    print(precision_table_heading());
    for (auto const& item : plan_.cases) {
      measure(item, progress, done);
      done += item.seconds;
    }
    finish();
    bool valid = true;
    for (auto const& c : cases_) valid = valid && c.verdict_reason().empty();
    return static_cast<int>(comm_.max(static_cast<std::int64_t>(valid ? 0 : 1)));
  }

 private:
  using Clock = PhaseTimes::Clock;

  void print(std::string const& text) const {
    if (comm_.is_root()) (config_.json == "-" ? std::cerr : std::cout) << text << std::flush;
  }

  void measure(PrecisionCase const& item, Progress& progress, double done) {
    auto const start = Clock::now();
    MeasuredPrecision measured{&config_, item, {}, {}, 0.0};
    auto const step = std::max<std::int64_t>(1, rows_per_gather / config_.rows);
    for (std::int64_t first = 0; first < config_.draws; first += step) {
      progress.update(done + item.seconds * static_cast<double>(first) / static_cast<double>(config_.draws),
                      "n = " + std::to_string(item.n) + ", draw " + std::to_string(first + 1) + " of " + std::to_string(config_.draws));
      measure_precision(comm_, config_, item, first, std::min(config_.draws, first + step), measured.data, measured.checks);
    }
    measured.seconds_total = comm_.max(std::chrono::duration<double>(Clock::now() - start).count());
    if (!comm_.is_root()) return;
    progress.clear();
    print(precision_table_rows(measured));
    cases_.push_back(std::move(measured));
    // After every case: a run that is ended loses the case in flight only.
    write_precision_file(config_.output, provenance_, cases_);
  }

  void finish() const {
    if (!comm_.is_root()) return;
    RecordList records;
    for (auto const& c : cases_) {
      for (auto& record : precision_records(c)) records.add(std::move(record));
    }
    if (!config_.json.empty()) records.write(config_.json);
    print("results: " + config_.output + "\n");
  }

  Communicator const& comm_;
  PrecisionConfig const& config_;
  PrecisionPlan const& plan_;
  Provenance provenance_;
  std::vector<MeasuredPrecision> cases_;  ///< on rank 0
};

int run_precision(Communicator const& comm, int argc, char const* const* argv) {
  auto config = together(comm, [&] { return parse_precision_options(argc, argv, comm.is_root()); });
  if (!config) return 0;
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];

  auto const machine = describe_machine(comm);
  auto const plan = plan_precision(*config, machine);
  if (config->dry_run) {
    if (comm.is_root()) std::cout << describe(plan, *config, machine);
    return 0;
  }
  check_launch(comm);
  check_on_root(comm, [&] {
    check_apart({{"--output", config->output}, {"--json", config->json}}, {{"--config", config->config_file}});
    check_new_file("--output", config->output, config->force);
    check_records_path(config->json);
    discard_left_behind(config->output);
  });
  if (comm.is_root()) (config->json == "-" ? std::cerr : std::cout) << describe(plan, *config, machine) << std::flush;
  return PrecisionStudy(comm, *config, plan, machine).run();
}

}  // namespace

Command precision_command() {
  return {"precision", "what bf16, fp16 and fp8 do to softmax, stage by stage: sum p, tail mass, effective entries; writes HDF5",
          run_precision, threads_of<parse_precision_options>, false};
}

}  // namespace asymptop
