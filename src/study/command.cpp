// asymptop study: rows of queries over keys.
#include "study/command.hpp"

#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <sstream>

#include "config/errors.hpp"
#include "kernels/select/selector.hpp"
#include "launch/input.hpp"
#include "launch/launch.hpp"
#include "launch/together.hpp"
#include "plan/input_plan.hpp"
#include "study/draw.hpp"
#include "study/files/by_blas.hpp"
#include "study/study.hpp"

namespace asymptop {
namespace {

/// Of the trained indexers among the selectors.
std::vector<std::string> indexes_of(RunConfig const& config) {
  std::vector<std::string> names;
  for (auto const& choice : config.selectors) {
    auto const selector = choice.is_oracle() ? nullptr : make_selector(choice, 0);
    if (selector != nullptr && selector->index() != nullptr) names.push_back(selector->index()->name);
  }
  return names;
}

/// The plan with the shapes of the trained indexers that its cases go by. Throws UsageError for one that a text lacks.
StudyPlan with_indexes(Communicator const& comm, Input const& input, StudyPlan plan) {
  for (auto& group : plan.groups) {
    for (auto& item : group.cases) {
      auto const selector = item.selector.is_oracle() ? nullptr : make_selector(item.selector, group.key_d());
      if (selector == nullptr || selector->index() == nullptr) continue;
      for (std::int64_t text = 0; text < group.contexts.texts; ++text) {
        auto const* index = together(comm, [&] { return &input.file->layer(text, group.layer).index(selector->index()->name); });
        item.index_d = index->d();
        item.index_heads = index->heads();
      }
    }
  }
  return plan;
}

/// Of every group, its head in every text.
using Scans = std::vector<std::vector<TensorScan>>;

/// The tensors of every group, before anything is written.
Scans scan_heads(Communicator const& comm, Input const& input, StudyPlan const& plan, RunConfig const& config) {
  Scans scans(plan.groups.size());
  if (input.file == nullptr) return scans;
  auto const indexes = indexes_of(config);
  std::map<std::array<std::int64_t, 4>, TensorScan> known;
  for (std::size_t i = 0; i < plan.groups.size(); ++i) {
    auto const& group = plan.groups[i];
    // What a text begins with over its own keys, contexts that end anywhere over all of the text: bins, and with them the last digits of
    // sums, do not depend on what else is studied.
    auto const n = group.contexts.last_end;
    for (std::int64_t text = 0; text < group.contexts.texts; ++text) {
      auto const& layer = input.file->layer(text, group.layer);
      auto const [found, is_new] = known.try_emplace({text, group.layer, group.head, n});
      if (is_new) {
        found->second = scan_together(comm, layer, group.head, n, config.block);
        for (auto const& name : indexes) scan_index_together(comm, layer.index(name), group.head, n, config.block);
      }
      auto const& scan = scans[i].emplace_back(found->second);
      double const most = group.scale * scan.query_norm * scan.key_radius, cap = group.form.softcap,
                   products = 2.0 * (cap > 0.0 ? std::min(cap, most) : most),
                   span = products + std::fabs(group.slope()) * exact_double(group.reach());
      double const allowed = products * group.bins_per_unit > most_bins ? most_bins / group.bins_per_unit : widest_span(group);
      if (span > allowed) {
        std::ostringstream why;
        why << "has queries and keys of head " << group.head << " whose logits may span " << span
            << "; fp32 logits can be profiled over a span of " << allowed << ", check the tensors and --scale";
        throw UsageError("--input", config.input, why.str());
      }
    }
  }
  return scans;
}

/// Rows of queries over this team's keys, one draw at a time.
class KeyDraws final : public DrawSource {
 public:
  KeyDraws(Communicator const& team, RunConfig const& config, Input const& input, Scans scans)
      : team_(team), channels_(team), config_(config), input_(input), scans_(std::move(scans)) {}

  double start(std::size_t index, GroupPlan const& group, DrawBreaks& breaks) override {
    tensors_.reset();  // its memory goes first
    // Once a shape: a file's heads make hundreds of small groups, and measuring takes longer than some of them.
    auto const [sgemm, is_new] = sgemm_.try_emplace({group.d, group.rows_per_batch});
    if (is_new) sgemm->second = sgemm_rate(team_, group, config_);
    tensors_.emplace(make_shard(team_, group, config_));
    group_ = &group;
    setup_.emplace(StudySetup{&team_, &channels_, &config_, input_.file.get(), &scans_[index], &*tensors_, &breaks});
    return sgemm->second;
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
  Scans scans_;
  std::optional<ShardTensors<RunSpace>> tensors_;
  std::optional<StudySetup> setup_;
  std::map<std::pair<int, int>, double> sgemm_;  ///< by d and rows that are multiplied together
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

  void check_output() const override {
    if (config().mpi_memory == MpiMemory::device && !is_host_space<RunSpace> && !mpi_takes_device_memory())
      throw UsageError("--mpi-memory", "device", "needs an MPI that reads device memory, which this one does not say it does");
    Study::check_output();
  }

 protected:
  std::string input_name(GroupPlan const& group) const override {
    return input_.file == nullptr ? name_of(group.input) : input_.shape.name;
  }
  std::unique_ptr<DrawSource> make_source(Communicator const& team) override {
    auto const& groups = plan().groups;
    if (std::any_of(groups.begin(), groups.end(), [&](auto const& group) { return is_by_blas(config(), group); })) check_same_blas(comm_);
    return std::make_unique<KeyDraws>(team, config(), input_, scan_heads(comm_, input_, plan(), config()));
  }

 private:
  KeyStudy(Communicator const& comm, RunConfig const& config, Input input, Machine const& machine)
      : Study(comm, config, machine, with_indexes(comm, input, plan_study(config, input.shape, machine))), input_(std::move(input)) {}

  Input input_;
};

}  // namespace

Command study_command() {
  return {"study", "measure error of top-k attention, k_epsilon and effective entries over context lengths n; writes HDF5",
          drive_study<KeyStudy, parse_study_options>, threads_of<parse_study_options>, true};
}

}  // namespace asymptop
