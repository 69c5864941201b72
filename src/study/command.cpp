// asymptop study: rows of queries over keys.
#include "study/command.hpp"

#include <iostream>

#include "config/errors.hpp"
#include "kernels/select/selector.hpp"
#include "launch/input.hpp"
#include "launch/together.hpp"
#include "results/records.hpp"
#include "study/draw.hpp"
#include "study/files/case_file.hpp"
#include "study/files/plan_records.hpp"
#include "study/files/resume.hpp"
#include "study/study.hpp"

namespace asymptop {
namespace {

/// Of the trained indexers among the selectors.
std::vector<std::string> indexes_of(RunConfig const& config) {
  std::vector<std::string> names;
  for (auto const& choice : config.selectors) {
    auto const selector = choice.is_oracle() ? nullptr : make_selector(choice, 1 << 12);
    if (selector != nullptr && selector->index() != nullptr) names.push_back(selector->index()->name);
  }
  return names;
}

/// The tensors of every group, before anything is written.
std::vector<TensorScan> scan_heads(Communicator const& comm, Input const& input, StudyPlan const& plan, RunConfig const& config) {
  std::vector<TensorScan> scans;
  auto const indexes = indexes_of(config);
  // Each over its own keys: bins, and with them the last digits of sums, do not depend on what else is studied.
  for (auto const& group : plan.groups) {
    scans.push_back(input.file != nullptr ? scan_together(comm, *input.file, group.head, group.n, config.block) : TensorScan{});
    for (auto const& name : indexes) scan_index_together(comm, input.file->index(name), group.head, group.n, config.block);
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

std::string name_of_input(Input const& input, GroupPlan const& group) {
  return input.file == nullptr ? name_of(group.input) : input.shape.name;
}

/// Rows of queries over this team's keys, one draw at a time.
class KeyDraws final : public DrawSource {
 public:
  KeyDraws(Communicator const& team, RunConfig const& config, Input const& input, std::vector<TensorScan> scans)
      : team_(team), channels_(team), config_(config), input_(input), scans_(std::move(scans)) {}

  std::string input_name(GroupPlan const& group) const override { return name_of_input(input_, group); }

  double start(std::size_t index, GroupPlan const& group, DrawBreaks& breaks) override {
    tensors_.reset();  // its memory goes first
    double const sgemm = sgemm_rate(team_, group, config_);
    tensors_.emplace(make_shard(team_, group, config_));
    group_ = &group;
    auto const* scan = input_.file == nullptr ? nullptr : &scans_[index];
    setup_.emplace(StudySetup{&team_, &channels_, &config_, input_.file.get(), scan, &*tensors_, &breaks});
    return sgemm;
  }

  std::int64_t at_once() const override { return 1; }

  DrawResult make(std::int64_t first, std::int64_t /*end*/, PartialDraw earlier) override {
    return run_draw(*setup_, *group_, first, std::move(earlier));
  }

 private:
  Communicator const& team_;
  BatchChannels channels_;
  RunConfig const& config_;
  Input const& input_;
  std::vector<TensorScan> scans_;
  std::optional<ShardTensors<RunSpace>> tensors_;
  std::optional<StudySetup> setup_;
  GroupPlan const* group_ = nullptr;
};

Machine machine_of(Communicator const& comm, RunConfig const& config) {
  return config.machine ? assume_machine(*config.machine) : describe_machine(comm);
}

class KeyStudy final : public Study {
 public:
  KeyStudy(Communicator const& comm, RunConfig const& config)
      : KeyStudy(comm, config, open_input(comm, config.input), machine_of(comm, config)) {}

  std::string describe() const override { return input_line(input_.shape) + asymptop::describe(plan(), config(), machine()); }

  /// With --json for programs, too; with --resume that says what each case's file is worth.
  void show_plan() const override {
    print(describe());
    if (config().json.empty()) return;
    CaseStates states;
    for (auto const& group : plan().groups) {
      for (std::size_t law = 0; law < group.cases.size() && config().resume; ++law) {
        auto item = start_case(config(), name_of_input(input_, group), group, law);
        states[item.plan().id] = case_state(case_path(config().output, item.plan().id), item);
      }
    }
    write_records(config().json, plan_record(plan(), config(), machine(), states));
  }

  void check_output() const override {
    if (config().mpi_memory == MpiMemory::device && !is_host_space<RunSpace> && !mpi_takes_device_memory())
      throw UsageError("--mpi-memory", "device", "needs an MPI that reads device memory, which this one does not say it does");
    Study::check_output();
  }

 protected:
  std::unique_ptr<DrawSource> make_source(Communicator const& team) override {
    return std::make_unique<KeyDraws>(team, config(), input_, scan_heads(comm_, input_, plan(), config()));
  }

 private:
  KeyStudy(Communicator const& comm, RunConfig const& config, Input input, Machine const& machine)
      : Study(comm, config, machine, plan_study(config, input.shape, machine)), input_(std::move(input)) {
    for (auto const& name : indexes_of(config)) together(comm, [&] { return input_.file->index(name).d(); });
  }

  Input input_;
};

}  // namespace

Command study_command() {
  return {"study", "measure error of top-k attention, k_epsilon and effective entries over context lengths n; writes HDF5",
          drive_study<KeyStudy, parse_study_options>, threads_of<parse_study_options>, true};
}

}  // namespace asymptop
