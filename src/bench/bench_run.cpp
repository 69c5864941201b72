#include "bench/bench_run.hpp"

#include <algorithm>
#include <memory>

#include "comm/timing.hpp"
#include "kernels/device/memory.hpp"
#include "launch/peak_memory.hpp"

namespace asymptop {
namespace {

struct NamedPhase {
  Phase phase;
  std::string name;
};

/// The phases that a kernel has. Where scores are no phase of their own, the name of the pass that makes them says so.
std::vector<NamedPhase> phases_of(BenchKernel kernel, bool scores_apart) {
  std::string const with_scores = scores_apart ? "" : "score+";
  std::vector<NamedPhase> phases{{Phase::generate, "generate"}};
  if (kernel == BenchKernel::normals) return phases;
  if (kernel == BenchKernel::merge) return {{Phase::select, "agree"}, {Phase::attend, "attend"}, {Phase::merge, "combine"}};
  if (scores_apart) phases.push_back({Phase::score, "score"});
  if (takes_k(kernel)) phases.push_back({Phase::select, with_scores + "select"});
  if (takes_values(kernel)) phases.push_back({Phase::attend, (takes_k(kernel) ? "" : with_scores) + "attend"});
  if (kernel != BenchKernel::score) phases.push_back({Phase::merge, "merge"});
  return phases;
}

MergeResult merge_result(Communicator const& comm, std::vector<double> const& seconds, std::vector<double> const& combine,
                         std::vector<double> const& exposed, Traffic const& sent) {
  MergeResult merge;
  std::vector<std::int64_t> sums{sent.bytes, sent.messages};
  comm.sum(sums);
  merge.seconds = sample_statistics(seconds).median;
  merge.combine_seconds = sample_statistics(combine).median;
  merge.exposed_seconds = sample_statistics(exposed).median;
  merge.bytes = sums[0];
  merge.messages = sums[1];
  merge.bytes_per_rank = comm.max(sent.bytes);
  merge.rounds = comm.max(sent.rounds);
  return merge;
}

/// A case as one of the ranks that measure it sees it.
class Measurement {
 public:
  /// Sets up and warms up.
  Measurement(BenchTurn const& turn, BenchConfig const& config, BenchPath const& path)
      : resident_before_(resident_memory()), device_before_(device::memory_held()) {
    reset_peak_memory();
    device::reset_most_memory();
    problem_ = std::make_unique<BenchProblem>(*turn.comm, *turn.item, config);
    work_ = path.make(*problem_);
    phases_ = phases_of(turn.item->kernel, work_->scores_apart());
    for (auto const& phase : phases_) result_.phases.push_back(phase.name);
    result_.phases.push_back("other");
    run();
    note_peak_memory();
  }

  /// What this measurement has added to the process, at its highest so far. Others must not have been set up since.
  void note_peak_memory() {
    added_bytes_ = peak_memory() - resident_before_;
    device_bytes_ = device::most_memory() - device_before_;
  }

  void take_sample() {
    auto const before = work_->phases().seconds();
    double const seconds = run();
    auto const& comm = problem_->comm;
    result_.seconds.push_back(comm.max(seconds));
    auto& phase_seconds = result_.phase_seconds.emplace_back();
    double other = seconds, waiting = 0.0;
    for (auto const& [phase, name] : phases_) {
      double const mine = work_->phases().seconds(phase) - before[phase];
      phase_seconds.push_back(over_ranks(comm, mine));
      other -= mine;
      if (phase == Phase::merge) waiting = mine;
    }
    phase_seconds.push_back(over_ranks(comm, other));
    merge_seconds_.push_back(comm.max(work_->merge_cost().seconds));
    combine_seconds_.push_back(comm.max(work_->merge_cost().combine_seconds));
    exposed_seconds_.push_back(comm.max(work_->merge_cost().exposed_seconds));
    auto const busy = over_ranks(comm, seconds - waiting);
    result_.imbalance.push_back(busy.max / busy.mean - 1.0);
  }

  /// resident: memory of the process at rest.
  BenchResult finish(double resident) {
    auto const& comm = problem_->comm;
    result_.peak_bytes = comm.sum(resident + added_bytes_);
    result_.peak_bytes_per_rank = comm.max(resident + added_bytes_);
    result_.device_peak_bytes = comm.max(exact_double(device_bytes_));
    result_.merge = merge_result(comm, merge_seconds_, combine_seconds_, exposed_seconds_, work_->merge_cost().sent);
    result_.checked_rows = rows_to_check(problem_->item.m, problem_->item.n);
    result_.residuals = check_answer(*problem_, result_.checked_rows, work_->answer(result_.checked_rows));
    return std::move(result_);
  }

 private:
  /// Seconds of this rank.
  double run() {
    problem_->comm.barrier();
    problem_->space.fence();
    auto const begin = PhaseTimes::Clock::now();
    work_->run();
    problem_->space.fence();
    return std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count();
  }

  double resident_before_, added_bytes_ = 0.0;
  std::size_t device_before_, device_bytes_ = 0;
  std::unique_ptr<BenchProblem> problem_;
  std::unique_ptr<BenchWork> work_;
  std::vector<NamedPhase> phases_;
  std::vector<double> merge_seconds_, combine_seconds_, exposed_seconds_;
  BenchResult result_;
};

}  // namespace

std::vector<BenchResult> run_bench_turns(Communicator const& all, std::vector<BenchTurn> const& turns, bool together,
                                         BenchConfig const& config, BenchPath const& path, std::function<bool()> const& stop) {
  std::vector<BenchResult> results(turns.size());
  auto const stopped = [&] { return stop && stop(); };
  std::vector<std::unique_ptr<Measurement>> measurements(turns.size());
  auto const everyone = [&](BenchTurn const& turn) { return turn.item->ranks == all.size(); };
  bool const nobody_idle = std::all_of(turns.begin(), turns.end(), everyone);
  // Calls step(i) for turns [first, end), each on the ranks that take part while the others sleep.
  auto const in_turn = [&](std::size_t first, std::size_t end, auto const& step) {
    for (auto i = first; i < end; ++i) {
      if (all.rank() < turns[i].item->ranks) step(i);
      if (!nobody_idle) all.sleeping_barrier();
    }
  };
  std::size_t const at_once = together ? turns.size() : 1;
  for (std::size_t first = 0; first < turns.size(); first += at_once) {
    auto const end = first + at_once;
    double const resident = resident_memory();
    in_turn(first, end, [&](std::size_t i) { measurements[i] = std::make_unique<Measurement>(turns[i], config, path); });
    for (std::int64_t sample = 0; sample < config.samples; ++sample) {
      if (stopped()) return {};
      in_turn(first, end, [&](std::size_t i) { measurements[i]->take_sample(); });
    }
    if (stopped()) return {};
    if (at_once == 1 && measurements[first] != nullptr) measurements[first]->note_peak_memory();
    in_turn(first, end, [&](std::size_t i) {
      results[i] = measurements[i]->finish(resident);
      measurements[i].reset();
    });
  }
  return results;
}

}  // namespace asymptop
