// Wall seconds of the phases of a draw on one rank. Kernels are fenced before a phase stops.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace asymptop {

/// `select` is bins and candidates; on the fused path scores are made in it too.
enum class Phase { generate, score, select, merge, evaluate, refine, audit, attend, total, first_pass };
inline constexpr std::array<char const*, 10> phase_names = {"generate", "score", "select", "merge", "evaluate",
                                                            "refine",   "audit", "attend", "total", "first_pass"};

template <class PhaseOf, std::size_t count>
class PhaseTimesOf {
 public:
  using Clock = std::chrono::steady_clock;
  void start() { mark_ = Clock::now(); }
  /// Adds the time since the last start or stop to a phase.
  void stop(PhaseOf phase) {
    auto const now = Clock::now();
    seconds_[static_cast<std::size_t>(phase)] += std::chrono::duration<double>(now - mark_).count();
    mark_ = now;
  }
  void add(PhaseOf phase, double seconds) { seconds_[static_cast<std::size_t>(phase)] += seconds; }
  std::array<double, count> const& seconds() const { return seconds_; }

 private:
  Clock::time_point mark_ = Clock::now();
  std::array<double, count> seconds_{};
};
using PhaseTimes = PhaseTimesOf<Phase, phase_names.size()>;

}  // namespace asymptop
