// What the works of all kernels share: the shard's tensors, the rows on a path, and the makers that bench_paths() lists.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "bench/bench_work.hpp"
#include "draw/first_pass.hpp"
#include "draw/row_batch.hpp"
#include "kernels/attend/segments.hpp"

namespace asymptop {

/// f(i) for i < count, shared out among threads: where a device selects, copies by one of them would take most of the time.
template <class Function>
void for_each(std::size_t count, Function const& f) {
  if (count == 1) return f(0);  // a decoding step
  using Host = Kokkos::DefaultHostExecutionSpace;
  Kokkos::parallel_for("Asymptop::bench::rows", Kokkos::RangePolicy<Host>(0, count), f);
  Host().fence();
}

/// The shard's tensors and the rows that are measured, on one path.
class KernelWork : public BenchWork {
 public:
  KernelWork(BenchProblem const& problem, Path const& path);
  PhaseTimes const& phases() const override { return phases_; }
  bool scores_apart() const override { return path_.scores_apart; }

 protected:
  using Space = RunSpace;
  int rows() const { return batch_.rows(); }
  std::size_t d() const { return problem_.item.d; }
  /// The rows asked for that this rank owns.
  std::vector<BenchAnswer::Row> own_rows(std::vector<int> const& asked) const;
  std::size_t own_index(int row) const { return row - problem_.owned().begin; }
  std::vector<int> all_owners() const;
  /// BenchAnswer::Row::profile of a row from its merged moments (bins, 3) and its head of a candidate more than k.
  std::vector<double> profile_of(int row, std::vector<std::int64_t> const& moments, std::vector<Candidate> const& head) const;
  /// All keys of the shard through a pass.
  void walk(KeyPass<Space>& pass);

  BenchProblem const& problem_;
  Path const& path_;
  Space space_;
  ShardTensors<Space> tensors_;
  RowBatch batch_;
  PhaseTimes phases_;
};

/// The three parts of a decoding step, and what they cost: what ranks agree on, attention over what each keeps, what they combine. They
/// begin the first and the last together: what ranks wait for each other is no part of what they exchange.
template <class Agree, class Attend, class Combine>
void timed_step(Communicator const& comm, PhaseTimes& phases, MergeCost& cost, Agree const& agree, Attend const& attend,
                Combine const& combine) {
  using Clock = PhaseTimes::Clock;
  auto const seconds_since = [](Clock::time_point mark) { return std::chrono::duration<double>(Clock::now() - mark).count(); };
  comm.barrier();
  cost = {};
  auto const before = comm.traffic();
  auto mark = Clock::now();
  phases.start();
  agree();
  phases.stop(Phase::select);
  cost.seconds = seconds_since(mark);
  attend();
  phases.stop(Phase::attend);
  comm.barrier();
  mark = Clock::now();
  phases.start();
  combine();
  phases.stop(Phase::merge);
  cost.combine_seconds = seconds_since(mark);
  cost.seconds += cost.combine_seconds;
  cost.sent = comm.traffic() - before;
}

/// Attention outputs of the owned rows from merged sums (owned rows, d + 1), fixed point.
std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor);

std::unique_ptr<BenchWork> make_score(BenchProblem const& problem, Path const& path);
std::unique_ptr<BenchWork> make_profile(BenchProblem const& problem, Path const& path);
std::unique_ptr<BenchWork> make_top_k(BenchProblem const& problem, Path const& path);
std::unique_ptr<BenchWork> make_exact_attention(BenchProblem const& problem, Path const& path);
std::unique_ptr<BenchWork> make_top_k_attention(BenchProblem const& problem, Path const& path);
/// The case's selection, with heads that stay in the memory of GPUs.
std::unique_ptr<BenchWork> make_on_device(BenchProblem const& problem, Path const& path);

/// What each rank keeps of a row without asking the others: nothing, k keys, or k / P.
enum class LocalSelection { none, each, share };
/// Keys that each rank keeps of a row without a word to the others.
inline std::int64_t kept_alone(LocalSelection selection, std::int64_t k, int ranks) {
  return selection == LocalSelection::share ? std::max<std::int64_t>(1, k / ranks) : k;
}
/// A way to select over ranks.
struct MergeWay {
  char const* name;
  LocalSelection selection;
  std::unique_ptr<BenchWork> (*make)(BenchProblem const&, Path const&);
};
/// The exact one of hosts first; those of GPUs where there is one.
std::vector<MergeWay> merge_ways();
/// The same with heads that stay in the memory of GPUs.
std::unique_ptr<BenchWork> make_merge_on_device(BenchProblem const& problem, LocalSelection selection);

/// A way to lay normals out, and what makes them so.
struct NormalLayout {
  char const* name;
  std::unique_ptr<BenchWork> (*make)(BenchProblem const&);
};
/// Those of this build, the fastest first.
std::vector<NormalLayout> normal_layouts();

}  // namespace asymptop
