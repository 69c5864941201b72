#include "app/stop.hpp"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction is POSIX's

#include <chrono>
#include <cstdint>
#include <thread>

namespace asymptop {
namespace {

volatile sig_atomic_t asked = 0;

void note_request(int) { asked = 1; }

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

void listen_for_stop() {
  struct sigaction action {};
  action.sa_handler = note_request;
  action.sa_flags = SA_RESTART;  // calls of libraries that a signal interrupts go on
  sigemptyset(&action.sa_mask);
  for (int const signal : {SIGUSR1, SIGTERM}) sigaction(signal, &action, nullptr);
  auto const set = stop_signals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

bool stop_wanted(Communicator const& comm) { return comm.max(static_cast<std::int64_t>(asked)) != 0; }

std::string stopped_line(std::size_t finished, std::size_t cases, std::string const& more) {
  return "stopped on request: " + std::to_string(finished) + " of " + std::to_string(cases) + " cases finished" + more + "\n";
}

std::string stopped_in(std::int64_t draw, std::int64_t draws) {
  return ", draw " + std::to_string(draw) + " of " + std::to_string(draws) + " of the next; --resume continues";
}

TeamStop::TeamStop(Communicator const& all, Communicator const& team) : team_(team), channel_(all.get()) {
  auto const first = all.all_gather(std::vector<std::int64_t>{team.is_root() ? 1 : 0});
  for (int rank = 0; rank < all.size() && team.is_root(); ++rank) {
    if (rank != all.rank() && first[static_cast<std::size_t>(rank)] != 0) others_.push_back(rank);
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
  return team_.max(static_cast<std::int64_t>(asked != 0 || early_ ? 1 : 0)) != 0;
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
  check_mpi(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  return channel_.max(static_cast<std::int64_t>(early || early_ ? 1 : 0)) != 0;
}

}  // namespace asymptop
