#include "measure/bench_run.hpp"

#include "measure/peak_memory.hpp"
#include "measure/timing.hpp"

namespace asymptop {
namespace {

double timed_run(BenchProblem const& problem, BenchWork& work) {
  problem.comm.barrier();
  problem.space.fence();
  auto const begin = PhaseTimes::Clock::now();
  work.run();
  problem.space.fence();
  return problem.comm.max(std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
}

MergeResult merge_result(Communicator const& comm, std::vector<double> const& seconds, std::vector<double> const& exposed,
                         Traffic const& sent) {
  MergeResult merge;
  std::vector<std::int64_t> sums{sent.bytes, sent.messages};
  comm.sum(sums);
  merge.seconds = sample_statistics(seconds).median;
  merge.exposed_seconds = sample_statistics(exposed).median;
  merge.bytes = sums[0];
  merge.messages = sums[1];
  merge.bytes_per_rank = comm.max(sent.bytes);
  merge.rounds = comm.max(sent.rounds);
  return merge;
}

}  // namespace

BenchResult run_bench_case(Communicator const& comm, BenchCase const& item, BenchConfig const& config, BenchPath const& path) {
  reset_peak_memory();
  BenchResult result;
  BenchProblem const problem(comm, item, config);
  auto const work = path.make(problem);
  timed_run(problem, *work);  // warm-up
  std::vector<double> merge_seconds, exposed_seconds;
  for (std::int64_t sample = 0; sample < config.samples; ++sample) {
    result.seconds.push_back(timed_run(problem, *work));
    merge_seconds.push_back(comm.max(work->merge_cost().seconds));
    exposed_seconds.push_back(comm.max(work->merge_cost().exposed_seconds));
  }
  double const peak = peak_memory();
  result.peak_bytes = comm.sum(peak);
  result.peak_bytes_per_rank = comm.max(peak);
  result.merge = merge_result(comm, merge_seconds, exposed_seconds, work->merge_cost().sent);
  result.checked_rows = rows_to_check(item.m, item.n);
  result.residuals = check_answer(problem, result.checked_rows, work->answer(result.checked_rows));
  return result;
}

}  // namespace asymptop
