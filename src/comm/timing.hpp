// Wall seconds of the phases of a draw on one rank. Kernels are fenced before a phase stops.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "kernels/core/enum_array.hpp"

namespace asymptop {

/// `select` is bins and candidates; on the fused path scores are made in it too. `merge` is what a rank does for merges and messages,
/// `exposed` the time that it is blocked: waiting for other ranks with nothing left to compute.
enum class Phase { generate, score, select, merge, exposed, evaluate, refine, audit, attend, total, first_pass };
inline constexpr std::array<char const*, 11> phase_names = {"generate", "score", "select", "merge", "exposed",   "evaluate",
                                                            "refine",   "audit", "attend", "total", "first_pass"};

/// Steps of passes over keys so far, in all: whether a rank moves. Other threads may look.
inline std::atomic<std::int64_t> pass_steps = 0;

template <class PhaseOf, std::size_t count>
class PhaseTimesOf {
 public:
  using Clock = std::chrono::steady_clock;
  void start() { mark_ = Clock::now(); }
  /// Adds the time since the last start or stop to a phase.
  void stop(PhaseOf phase) {
    auto const now = Clock::now();
    seconds_[phase] += std::chrono::duration<double>(now - mark_).count();
    mark_ = now;
  }
  void add(PhaseOf phase, double seconds) { seconds_[phase] += seconds; }
  double seconds(PhaseOf phase) const { return seconds_[phase]; }
  EnumArray<PhaseOf, double, count> const& seconds() const { return seconds_; }

  /// What is done between the steps of a pass over the keys, so that other work's messages keep moving. It has phases of its own.
  void set_between_steps(std::function<void()> work) { between_steps_ = std::move(work); }
  /// A pass calls this before each step, outside of its phases.
  void between_steps() {
    ++pass_steps;
    if (!between_steps_) return;
    auto const begin = Clock::now();
    between_steps_();
    seconds_between_ += std::chrono::duration<double>(Clock::now() - begin).count();
  }
  /// Spent between steps so far.
  double seconds_between_steps() const { return seconds_between_; }

 private:
  Clock::time_point mark_ = Clock::now();
  EnumArray<PhaseOf, double, count> seconds_;
  std::function<void()> between_steps_;
  double seconds_between_ = 0.0;
};
using PhaseTimes = PhaseTimesOf<Phase, phase_names.size()>;

}  // namespace asymptop
