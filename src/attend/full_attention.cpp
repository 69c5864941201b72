#include "attend/full_attention.hpp"

#include <algorithm>
#include <optional>

#include "comm/exact_sum.hpp"

// Packed keys are for hosts.
#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

/// Wall seconds of work that starts on all ranks together, on the slowest of them.
template <class Work>
double seconds_of(Communicator const& comm, Work const& work) {
  comm.barrier();
  auto const begin = PhaseTimes::Clock::now();
  work();
  return comm.max(std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
}

/// Means of (rows, width) values over all rows of the sequence.
std::vector<double> means(RingSequence const& sequence, std::vector<double> const& values, std::size_t width) {
  auto sums = exact_sums(sequence.comm(), values, width, sequence.item().n);
  for (auto& sum : sums) sum /= sequence.item().rows();
  return sums;
}

}  // namespace

AttendDraw run_attend_draw(AttendConfig const& config, RingSequence& sequence, std::int64_t draw, SaveOutputs const& save) {
  auto const& comm = sequence.comm();
  auto const begin = PhaseTimes::Clock::now();
  auto const sent = sequence.bytes_sent();
  AttendTimes times;
  AttendDraw result;
  times.start();
  sequence.load(config.seed, draw);
  times.stop(AttendPhase::generate);
  ExactAttention const* exact = nullptr;
  std::optional<TopKAttention> top_k;
  std::optional<DifferenceResult> difference;
  auto const known = [](auto const& part) { return part ? &*part : nullptr; };
  if (config.wants(BenchKernel::exact_attention))
    result.exact_seconds = seconds_of(comm, [&] { exact = &exact_attention(sequence, times); });
  if (config.wants(BenchKernel::top_k_attention))
    result.top_k_seconds = seconds_of(comm, [&] { top_k = top_k_attention(sequence, exact, times); });
  if (config.spectral) difference = difference_norms(sequence, *top_k, config.seed, draw, config.iterations, times);
  if (exact != nullptr && top_k) result.output_error = means(sequence, top_k->error, sequence.item().k.size());
  if (difference) result.norms = difference->norms;
  times.start();
  result.residuals = check_draw(sequence, draw, exact, known(top_k), known(difference));
  times.stop(AttendPhase::check);
  if (save) save(exact, known(top_k));
  times.stop(AttendPhase::save);
  times.add(AttendPhase::total, std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
  std::vector<double> seconds(times.seconds().begin(), times.seconds().end());
  comm.max(seconds);
  std::copy(seconds.begin(), seconds.end(), result.phase_seconds.begin());
  result.bytes_sent = comm.sum(exact_double(sequence.bytes_sent() - sent));
  return result;
}

}  // namespace asymptop

#endif
