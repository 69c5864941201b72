// asymptop attend: options -> plan -> every draw of every case -> results file, outputs, table and records.
#include "attend/command.hpp"

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "asymptop/kernels/input/philox_normal.hpp"
#include "attend/file.hpp"
#include "config/errors.hpp"
#include "launch/input.hpp"
#include "launch/launch.hpp"
#include "launch/left_behind.hpp"
#include "launch/machine.hpp"
#include "launch/peak_memory.hpp"
#include "launch/stop.hpp"
#include "launch/together.hpp"
#include "plan/teams.hpp"
#include "results/whole_file.hpp"

namespace asymptop {

#ifndef KOKKOS_ENABLE_CUDA
namespace {

class Attend {
 public:
  Attend(Communicator const& comm, AttendConfig const& config, Input const& input, AttendPlan const& plan, Machine const& machine)
      : comm_(comm), config_(config), input_(input), plan_(plan), machine_(machine) {
    // Before anything is written: a bad value in a file ends the run.
    for (auto const& set : plan.sets) {
      for (auto const& item : set.cases) {
        bool const scan = input.file != nullptr && largest_value_.count({item.head, item.n}) == 0;
        if (scan) largest_value_[{item.head, item.n}] = scan_together(comm, *input.file, item.head, item.n, config.block).largest_value;
      }
    }
  }

  /// Returns the exit code.
  int run() {
    print(input_line(input_.shape) + describe(plan_, config_, machine_) + "\n" + attend_table_heading());
    provenance_ =
        collect_provenance(comm_, {"attend", config_.command_line, config_.config_text, config_.seed, config_.block, machine_.threads}, {});
    if (!config_.save_output.empty())
      outputs_ = std::make_unique<OutputFile>(comm_, config_.save_output, config_.wants(BenchKernel::exact_attention));
    for (auto const& set : plan_.sets) {
      if (measure(set)) continue;
      print(stopped_line(cases_.size(), plan_.cases(), cases_.empty() ? "" : ", in " + config_.output));
      return exit_stopped;
    }
    if (outputs_) outputs_->close();
    finish();
    bool valid = true;
    for (auto const& c : cases_) valid = valid && c.verdict_reason().empty();
    return comm_.max(static_cast<std::int64_t>(valid ? 0 : 1)) == 0 ? 0 : 1;
  }

 private:
  void print(std::string const& text) const {
    if (comm_.is_root()) (config_.json == "-" ? std::cerr : std::cout) << text << std::flush;
  }

  /// Every draw of every case of a set: each team of ranks makes one at a time, all teams at once. False when asked to stop before that.
  bool measure(AttendSet const& set) {
    auto const own = static_cast<std::size_t>(team_of_rank(comm_.rank(), set.teams, comm_.size()));
    auto const team = comm_.split(static_cast<int>(own));
    std::optional<RingSequence> sequence;
    auto const draws = static_cast<std::size_t>(config_.draws), teams = static_cast<std::size_t>(set.teams);
    std::vector<AttendDraw> of_case;  // on rank 0: of the case that is not complete
    reset_peak_memory();
    for (std::size_t first = 0; first < set.cases.size() * draws; first += teams) {
      if (stop_wanted(comm_)) return false;
      std::vector<AttendUnit> units;
      for (auto i = first; i < std::min(first + teams, set.cases.size() * draws); ++i)
        units.push_back({&set.cases[i / draws], static_cast<std::int64_t>(i % draws)});
      std::optional<AttendDraw> draw;
      if (own < units.size()) draw = make(team, units, own, sequence);
      if (outputs_ && !draw) outputs_->write(units);
      double const peak = comm_.max(peak_memory());
      auto const before = cases_.size();
      auto unit = units.begin();
      for (auto& made : gather_draws(comm_, draw && team.is_root() ? &*draw : nullptr)) {
        of_case.push_back(std::move(made));
        auto const& item = *(unit++)->item;
        if (of_case.size() == draws)
          cases_.push_back({item, std::exchange(of_case, {}), comm_.size() / set.teams, machine_.threads, set.teams, peak});
      }
      for (auto i = before; i < cases_.size(); ++i) print(attend_table_rows(cases_[i]));
      // As soon as a case is complete: a run that is ended loses those in flight only.
      if (cases_.size() > before) write_attend_file(config_.output, provenance_, cases_);
    }
    return true;
  }

  /// The draw of this rank's team.
  AttendDraw make(Communicator const& team, std::vector<AttendUnit> const& units, std::size_t own,
                  std::optional<RingSequence>& sequence) const {
    auto const& item = *units[own].item;
    if (!sequence || &sequence->item() != &item) {
      sequence.reset();  // its memory goes first
      auto const* file = input_.file.get();
      sequence.emplace(team, item, config_.block, file, file == nullptr ? largest_normal : largest_value_.at({item.head, item.n}));
    }
    SaveOutputs save;
    if (outputs_) {
      save = [&](ExactAttention const* exact, TopKAttention const* top_k) { outputs_->write(units, own, *sequence, exact, top_k); };
    }
    return run_attend_draw(config_, *sequence, units[own].draw, save);
  }

  void finish() const {
    if (!comm_.is_root()) return;
    RecordList records;
    for (auto const& c : cases_) {
      for (auto& record : attend_records(c)) records.add(std::move(record));
    }
    if (!config_.json.empty()) records.write(config_.json);
    print("results: " + config_.output + "\n");
  }

  Communicator const& comm_;
  AttendConfig const& config_;
  Input const& input_;
  AttendPlan const& plan_;
  Machine const& machine_;
  Provenance provenance_;
  std::unique_ptr<OutputFile> outputs_;
  std::vector<MeasuredAttention> cases_;                                   ///< complete ones, on rank 0
  std::map<std::pair<std::int64_t, std::int64_t>, double> largest_value_;  ///< |v| of a head's first n rows
};

int run_attend(Communicator const& comm, int argc, char const* const* argv) {
  auto config = together(comm, [&] { return parse_attend_options(argc, argv, comm.is_root()); });
  if (!config) return 0;
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];

  auto const machine = describe_machine(comm);
  auto const input = open_input(comm, config->input);
  auto const plan = plan_attend(*config, input.shape, machine);
  if (config->dry_run) {
    if (comm.is_root()) std::cout << input_line(input.shape) << describe(plan, *config, machine);
    return 0;
  }
  check_launch(comm);
  check_on_root(comm, [&] {
    check_apart({{"--output", config->output}, {"--json", config->json}, {"--save-output", config->save_output}},
                {{"--config", config->config_file}, {"--input", config->input}});
    check_new_file("--output", config->output, config->force);
    check_records_path(config->json);
    bool const save = !config->save_output.empty();
    if (save) check_new_file("--save-output", config->save_output, config->force);
    if (save && !h5::shared_files_possible())
      throw UsageError("--save-output", config->save_output, "needs a parallel HDF5, which this build lacks");
    discard_left_behind(config->output);
    if (save) discard_left_behind(config->save_output);
  });
  return Attend(comm, *config, input, plan, machine).run();
}

#else
int run_attend(Communicator const&, int, char const* const*) {
  throw UsageError("command", "attend", "needs the host kernels, which a build for devices lacks");
}
#endif

}  // namespace

Command attend_command() {
  return {"attend", "full attention: all n rows over n keys, exact and top-k, on a ring of ranks; norms of their difference; writes HDF5",
          run_attend, threads_of<parse_attend_options>, true};
}

}  // namespace asymptop
