// How a rank waits for the others.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace asymptop {

/// Whether ranks of this run share cores under an MPI that does not give its core away while it waits (MPICH): that keeps the rank that it
/// waits for from running, for whole time slices of the system, some 8 ms a message. The launch checks say so; never of Open MPI, which
/// gives way by itself and is slower with sleeps (4 ranks on two cores: 0.68 s for 0.57).
inline std::atomic<bool> cores_are_shared = false;

/// Between looks for messages that have not come. Where every thread has a core of its own it does nothing: a message is seen at once.
/// Where cores are shared the rank sleeps once it has looked for 0.1 ms, an eighth of the time waited so far, from 20 us to 1 ms.
class Waiting {
 public:
  using Clock = std::chrono::steady_clock;

  void pause() {
    if (!cores_are_shared) return;
    auto const now = Clock::now();
    if (begin_ == Clock::time_point()) begin_ = now;
    auto const waited = now - begin_;
    if (waited < std::chrono::microseconds(100)) return;
    std::this_thread::sleep_for(std::clamp<Clock::duration>(waited / 8, std::chrono::microseconds(20), std::chrono::milliseconds(1)));
  }
  /// Something has come.
  void reset() { begin_ = {}; }

 private:
  Clock::time_point begin_;
};

}  // namespace asymptop
