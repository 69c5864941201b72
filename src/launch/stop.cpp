#include "launch/stop.hpp"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction is POSIX's
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <string_view>
#include <utility>

#include "comm/task.hpp"
#include "comm/timing.hpp"

namespace asymptop {
namespace {

volatile sig_atomic_t asked = 0;

void note_request(int) { asked = 1; }

volatile sig_atomic_t tells_interrupts = 0;

void note_interrupt(int) {
  int const saved = errno;
  asked = 1;
  constexpr std::string_view text = "\nasymptop: interrupted, stops at the next step where it can; Ctrl-C once more ends it at once\n";
  if (tells_interrupts != 0 && write(STDERR_FILENO, text.data(), text.size()) < 0) tells_interrupts = 0;
  errno = saved;
}

bool ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void hold_stop_signals() {
  auto const set = stop_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

void listen_for_stop(bool tell) {
  struct sigaction action {};
  action.sa_handler = note_request;
  action.sa_flags = SA_RESTART;  // calls of libraries that a signal interrupts go on
  sigemptyset(&action.sa_mask);
  for (int const signal : {SIGUSR1, SIGTERM}) sigaction(signal, &action, nullptr);
  if (!ignored(SIGINT)) {  // as a shell without job control has it for what runs behind
    tells_interrupts = tell ? 1 : 0;
    action.sa_handler = note_interrupt;
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
  }
  auto const set = stop_signals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Of all threads of this process.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::duration<double>(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)).count();
}

/// Calls look() at every interval until the owner ends.
template <class Look>
void look_until(std::mutex& mutex, std::condition_variable& wake, bool const& ended, std::chrono::milliseconds every, Look const& look) {
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, every, [&] { return ended; })) look();
}

void end_thread(std::mutex& mutex, std::condition_variable& wake, bool& ended, std::thread& thread) {
  {
    std::lock_guard const lock(mutex);
    ended = true;
  }
  wake.notify_one();
  thread.join();
}

}  // namespace

StopWatch::StopWatch(bool counts_steps, std::function<void(std::string const&)> end_all)
    : counts_steps_(counts_steps), end_all_(std::move(end_all)), thread_([this] { watch(); }) {}

StopWatch::~StopWatch() { end_thread(mutex_, wake_, ended_, thread_); }

void StopWatch::watch() {
  constexpr auto idle_at_most = 30s, still_at_most = 600s;
  constexpr double idle_share = 0.01;  // of one core
  auto idle_since = Clock::now(), still_since = idle_since;
  double processor = 0.0;
  std::int64_t steps = -1;
  look_until(mutex_, wake_, ended_, 500ms, [&] {
    auto const now = Clock::now();
    auto const steps_now = task_steps + pass_steps;
    double const used = processor_seconds() - processor;
    // Before anyone asks there is no hurry.
    bool const moved = asked == 0 || steps_now != steps;
    if (moved) still_since = now;
    if (moved || used > idle_share * std::chrono::duration<double>(now - idle_since).count()) {
      idle_since = now;
      processor += used;
    }
    steps = steps_now;
    if (now - idle_since >= idle_at_most)
      end_all_("was asked to stop and has not moved for 30 s: it waits for something that does not come. Finished cases are kept");
    if (counts_steps_ && now - still_since >= still_at_most)
      end_all_("was asked to stop and has made no step for 10 minutes. Finished cases are kept");
  });
}

LeaveInTime::LeaveInTime(std::chrono::milliseconds after, std::function<void()> leave)
    : thread_([this, after, leave = std::move(leave)] {
        Clock::time_point since = Clock::time_point::max();
        look_until(mutex_, wake_, ended_, 100ms, [&] {
          if (asked == 0) return;
          since = std::min(since, Clock::now());
          if (Clock::now() - since >= after) leave();
        });
      }) {}

LeaveInTime::~LeaveInTime() { end_thread(mutex_, wake_, ended_, thread_); }

void leave_now(Communicator const& comm, std::function<void()> const& last) {
  if (comm.is_root()) {
    last();
  } else {
    std::this_thread::sleep_for(500ms);  // rank 0 may have something to say
  }
  if (comm.size() == 1) _exit(exit_stopped);
  alarm(5);  // should MPI be stuck
  MPI_Abort(MPI_COMM_WORLD, exit_stopped);
  _exit(exit_stopped);
}

bool stop_wanted(Communicator const& comm) { return comm.max(asked) != 0; }

std::string stopped_line(std::size_t finished, std::size_t cases, std::string const& more) {
  return "stopped on request: " + std::to_string(finished) + " of " + std::to_string(cases) + " cases finished" + more + "\n";
}

std::string stopped_in(std::int64_t draw, std::int64_t draws) {
  return ", draw " + std::to_string(draw) + " of " + std::to_string(draws) + " of the next; --resume continues";
}

TeamStop::TeamStop(Communicator const& all, Communicator const& team) : team_(team), channel_(all.get()) {
  auto const first = all.all_gather(std::vector<std::int64_t>{team.is_root() ? 1 : 0});
  for (int rank = 0; rank < all.size() && team.is_root(); ++rank) {
    if (rank != all.rank() && first[rank] != 0) others_.push_back(rank);
  }
}

void TeamStop::hear() {
  int there = 0;
  MPI_Status status;
  check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, channel_.get(), &there, &status), "MPI_Iprobe");
  if (there == 0) return;
  std::int64_t early = 0;
  check_mpi(MPI_Recv(&early, 1, MPI_INT64_T, status.MPI_SOURCE, 0, channel_.get(), MPI_STATUS_IGNORE), "MPI_Recv");
  ++heard_;
  early_ = early_ || early != 0;
}

bool TeamStop::wanted() {
  if (heard_ < others_.size()) hear();
  return team_.max(asked != 0 || early_ ? 1 : 0) != 0;
}

bool TeamStop::leave(bool early) {
  std::int64_t const message = early ? 1 : 0;
  std::vector<MPI_Request> requests(others_.size());
  for (std::size_t i = 0; i < others_.size(); ++i)
    check_mpi(MPI_Isend(&message, 1, MPI_INT64_T, others_[i], 0, channel_.get(), &requests[i]), "MPI_Isend");
  while (heard_ < others_.size()) {
    hear();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  check_mpi(MPI_Waitall(checked_count(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  return channel_.max(early || early_ ? 1 : 0) != 0;
}

}  // namespace asymptop
