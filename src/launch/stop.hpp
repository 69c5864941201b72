// A run that is asked to stop: SIGUSR1, SIGTERM or Ctrl-C (SIGINT), delivered to any of its ranks, ends it at the next boundary of all.
#pragma once

#include <mpi.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.hpp"

namespace asymptop {

/// Stopped on request; --resume continues where the command has it.
inline constexpr int exit_stopped = 75;

/// SIGUSR1 and SIGTERM wait, also while the program starts again in its place and libraries start, until it listens.
void hold_stop_signals();

/// From now on they ask for a stop and do nothing else, as does Ctrl-C unless the process was started to ignore it; once more, it ends the
/// process. A line says so on the rank that is to `tell`.
void listen_for_stop(bool tell);

/// Sees to it that a run that was asked to stop ends. One that no longer moves (no use of the processor and no step for half a minute,
/// or, in a command whose steps are counted, no step for ten) would never come to the boundary where it stops: all ranks end, by
/// `end_all`, which is given the reason.
class StopWatch {
 public:
  StopWatch(bool counts_steps, std::function<void(std::string const&)> end_all);
  ~StopWatch();

 private:
  void watch();

  bool counts_steps_;
  std::function<void(std::string const&)> end_all_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread thread_;
};

/// For as long as it lives: if this rank is asked to stop and the object is still there after so many seconds, `leave` is called, again and
/// again, by another thread.
class LeaveInTime {
 public:
  LeaveInTime(std::chrono::milliseconds after, std::function<void()> leave);
  ~LeaveInTime();

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread thread_;
};

/// What `leave` may do: ends all ranks where they are, as stopped on request, after rank 0 has done `last`. Of ranks that are in a step of
/// their work, which cannot meet.
[[noreturn]] void leave_now(Communicator const& comm, std::function<void()> const& last);

/// Whether any rank has been asked. Collective: a small reduction.
bool stop_wanted(Communicator const& comm);

/// The line that says so; `more` follows after the count of cases.
std::string stopped_line(std::size_t finished, std::size_t cases, std::string const& more);

/// What follows for a command that --resume continues.
std::string stopped_in(std::int64_t draw, std::int64_t draws);

/// A stop of teams of ranks that work apart and meet in the end only: their first ranks tell one another. Each sends every other one
/// message, when it leaves its work, and receives as many.
class TeamStop {
 public:
  /// Collective over all.
  TeamStop(Communicator const& all, Communicator const& team);
  TeamStop(TeamStop const&) = delete;
  TeamStop& operator=(TeamStop const&) = delete;
  /// Whether any rank of this team has been asked, or another team has left early. Collective over the team.
  bool wanted();
  /// This team does nothing more: it has finished, or left early. Returns whether any team left early. Collective over all.
  bool leave(bool early);

 private:
  void hear();

  Communicator const& team_;
  Communicator channel_;     ///< of all ranks, for these messages alone
  std::vector<int> others_;  ///< first ranks of the other teams; on other ranks empty
  std::size_t heard_ = 0;    ///< of others_
  bool early_ = false;       ///< one of those that were heard left early
};

}  // namespace asymptop
