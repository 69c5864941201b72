// asymptop attend: options -> plan -> every draw of every case -> results file, outputs, table and records.
#include "attend/command.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "attend/file.hpp"
#include "config/errors.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/input/philox_normal.hpp"
#include "launch/input.hpp"
#include "launch/left_behind.hpp"
#include "launch/measurement.hpp"
#include "launch/peak_memory.hpp"
#include "launch/performance_tools.hpp"
#include "launch/stop.hpp"
#include "plan/teams.hpp"

namespace asymptop {

#ifndef ASYMPTOP_PORTABLE_DEVICE
namespace {

class Attend final : public Measurement {
 public:
  Attend(Communicator const& comm, AttendConfig const& config)
      : Measurement(comm, config),
        config_(config),
        machine_(describe_machine(comm)),
        input_(open_input(comm, config.input)),
        plan_(plan_attend(config, input_.shape, machine_)) {}

  std::string describe() const override { return input_line(input_.shape) + asymptop::describe(plan_, config_, machine_); }

  std::string refusal() const override { return plan_.refusal; }

  nlohmann::ordered_json plan_record() const override {
    auto json = plan_head("attend", machine_, plan_.skips);
    json["cases"] = plan_records(plan_, config_);
    return json;
  }

  std::vector<NamedFile> written() const override {
    auto files = Measurement::written();
    files.push_back({"--save-output", config_.save_output});
    return files;
  }

  void check_output() const override {
    bool const save = !config_.save_output.empty();
    if (save) check_new_file("--save-output", config_.save_output, config_.force);
    if (save && !h5::shared_files_possible())
      throw UsageError("--save-output", config_.save_output, "needs a parallel HDF5, which this build lacks");
    Measurement::check_output();
    if (save) discard_left_behind(config_.save_output);
  }

  int run() override {
    scan_values();
    print("\n" + attend_table_heading());
    provenance_ = provenance("attend", machine_.threads);
    report_to_adiak("kernel_path", plan_.exact_path->name);
    if (!config_.save_output.empty())
      outputs_ = std::make_unique<OutputFile>(comm_, config_.save_output, config_.wants(BenchKernel::exact_attention));
    // A draw of many rows may take longer than whoever asks for a stop will wait.
    std::optional<LeaveInTime> leave;
    leave.emplace(std::chrono::seconds(3), [this] { leave_within_a_draw(); });
    bool const measured = std::all_of(plan_.sets.begin(), plan_.sets.end(), [this](AttendSet const& set) { return measure(set); });
    leave.reset();
    if (!measured) {
      print_stopped();
      return exit_stopped;
    }
    if (outputs_) outputs_->close();
    Ending ending;
    bool valid = true;
    for (auto const& c : cases_) {
      for (auto& record : attend_records(c)) ending.records.push_back(std::move(record));
      ending.figures.push_back({c.item.id + "/exact-rate", c.exact_gflops(), "GFLOP/s"});
      ending.figures.push_back({c.item.id + "/top-k-rate", c.top_k_gflops(), "GFLOP/s"});
      valid = valid && c.verdict_reason().empty();
    }
    return finish(ending, valid);
  }

 private:
  void print_stopped() const { print(stopped_line(cases_.size(), plan_.cases(), cases_.empty() ? "" : ", in " + config_.output)); }

  /// Called by another thread than the one that measures.
  void leave_within_a_draw() {
    std::unique_lock const lock(results_, std::try_to_lock);
    if (!lock) return;  // the next call finds it done
    leave_now(comm_, [this] {
      if (outputs_) outputs_->remove_part();
      print_stopped();
    });
  }

  /// Those of the file, which has one layer of one text; null for synthetic input.
  TensorLayer const* tensors() const { return input_.file == nullptr ? nullptr : &input_.file->layer(0, -1); }

  /// Before anything is written: a bad value in a file ends the run.
  void scan_values() {
    for (auto const& set : plan_.sets) {
      for (auto const& item : set.cases) {
        if (tensors() == nullptr || largest_value_.count({item.head, item.n}) != 0) continue;
        auto const scan = scan_together(comm_, *tensors(), item.head, item.n, config_.block);
        // A score that is no number stands in no order: a row could be left without any entry.
        double const products = scan.query_norm * scan.key_norm, allowed = std::numeric_limits<float>::max() / 2.0;
        if (products > allowed) {
          std::ostringstream why;
          why << "has queries and keys of head " << item.head << " whose products may reach " << products << "; fp32 has room for "
              << allowed << ", check the tensors";
          throw UsageError("--input", config_.input, why.str());
        }
        largest_value_[{item.head, item.n}] = scan.largest_value;
      }
    }
  }

  /// Every draw of every case of a set: each team of ranks makes one at a time, all teams at once. False when asked to stop before that.
  bool measure(AttendSet const& set) {
    int const number = team_of_rank(comm_.rank(), set.teams, comm_.size());
    auto const team = comm_.split(number);
    std::optional<RingSequence> sequence;
    std::size_t const own = number, draws = config_.draws, teams = set.teams;
    std::vector<AttendDraw> of_case;  // on rank 0: of the case that is not complete
    reset_peak_memory();
    device::reset_most_memory();
    for (std::size_t first = 0; first < set.cases.size() * draws; first += teams) {
      if (stop_wanted(comm_)) return false;
      std::vector<AttendUnit> units;
      for (auto i = first; i < std::min(first + teams, set.cases.size() * draws); ++i) {
        std::int64_t const number_in_case = i % draws;
        units.push_back({&set.cases[i / draws], number_in_case});
      }
      std::optional<AttendDraw> draw;
      if (own < units.size()) draw = make(team, units, own, sequence);
      if (outputs_ && !draw) outputs_->write(units);
      double const peak = comm_.max(peak_memory()), device_peak = comm_.max(exact_double(device::most_memory()));
      auto gathered = gather_draws(comm_, draw && team.is_root() ? &*draw : nullptr);
      std::lock_guard const lock(results_);
      auto const before = cases_.size();
      auto unit = units.begin();
      for (auto& made : gathered) {
        of_case.push_back(std::move(made));
        auto const& item = *(unit++)->item;
        if (of_case.size() == draws)
          cases_.push_back({item, std::exchange(of_case, {}), comm_.size() / set.teams, machine_.threads, set.teams, peak, device_peak});
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
      auto const* file = tensors();
      sequence.emplace(team, item, config_.block, file, file == nullptr ? largest_normal : largest_value_.at({item.head, item.n}));
    }
    SaveOutputs save;
    if (outputs_) {
      save = [&](ExactAttention const* exact, TopKAttention const* top_k) { outputs_->write(units, own, *sequence, exact, top_k); };
    }
    return run_attend_draw(config_, *sequence, units[own].draw, save);
  }

  AttendConfig const& config_;
  Machine machine_;
  Input input_;
  AttendPlan plan_;
  Provenance provenance_;
  std::unique_ptr<OutputFile> outputs_;
  std::mutex results_;                    ///< of what follows, while there is another thread that may leave
  std::vector<MeasuredAttention> cases_;  ///< complete ones, on rank 0
  std::map<std::pair<std::int64_t, std::int64_t>, double> largest_value_;  ///< |v| of a head's first n rows
};

constexpr auto run_attend = drive<Attend, parse_attend_options>;

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
