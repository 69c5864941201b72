// asymptop simulate: a study whose rows are order statistics of independent logits, without keys.
#include "study/simulate/command.hpp"

#include <chrono>

#include "study/simulate/plan.hpp"
#include "study/simulate/simulation.hpp"
#include "study/study.hpp"

namespace asymptop {
namespace {

class SimulatedRows final : public DrawSource {
 public:
  SimulatedRows(Communicator const& comm, RunConfig const& config) : comm_(comm), config_(config) {}

  double start(std::size_t, GroupPlan const& group, DrawBreaks&) override {
    group_ = &group;
    ranks_ = drawn_ranks(group.n, group.k);
    return 0.0;  // without keys there is no sgemm to stand beside
  }

  /// Enough rows between two gathers to share out, few enough to hold and to show progress by.
  std::int64_t at_once() const override { return std::max<std::int64_t>(1, 2048 / config_.rows); }

  /// The seconds of all of them are shared out evenly: they are made side by side.
  DrawResult make(std::int64_t first, std::int64_t end, PartialDraw) override {
    auto const begin = PhaseTimes::Clock::now();
    auto result = simulate_draws(comm_, config_, *group_, ranks_, first, end);
    double const seconds = comm_.max(std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
    std::size_t const draws = end - first;
    std::array<double, phase_names.size()> times{};
    for (auto const phase : {Phase::generate, Phase::first_pass, Phase::total})
      times[static_cast<std::size_t>(phase)] = seconds / exact_double(draws);
    result.phase_seconds.assign(draws, times);
    return result;
  }

 private:
  Communicator const& comm_;
  RunConfig const& config_;
  GroupPlan const* group_ = nullptr;
  DrawnRanks ranks_;
};

class Simulation final : public Study {
 public:
  Simulation(Communicator const& comm, RunConfig const& config) : Simulation(comm, config, describe_machine(comm)) {}

  std::string describe() const override { return describe_simulation(plan(), config(), machine()); }

 protected:
  std::string input_name(GroupPlan const&) const override { return "simulated"; }
  std::unique_ptr<DrawSource> make_source(Communicator const& team) override { return std::make_unique<SimulatedRows>(team, config()); }

 private:
  Simulation(Communicator const& comm, RunConfig const& config, Machine const& machine)
      : Study(comm, config, machine, plan_simulation(config, machine)) {}
};

}  // namespace

Command simulate_command() {
  return {"simulate", "the same numbers for rows of independent Gaussian logits without keys, n up to 2^62, in seconds; writes HDF5",
          drive_study<Simulation, parse_simulate_options>, threads_of<parse_simulate_options>, true};
}

}  // namespace asymptop
