#include "comm/communicator.hpp"

#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <chrono>
#include <iterator>
#include <thread>

#include "comm/collectives.hpp"
#include "comm/exchange.hpp"
#include "config/errors.hpp"

namespace asymptop {
namespace {

MPI_Comm duplicate(MPI_Comm parent) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
  return comm;
}

/// The parts end to end.
template <class T>
std::vector<T> joined(std::vector<std::vector<T>> const& parts) {
  std::vector<T> all;
  for (auto const& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

template <class T>
std::vector<T> all_to_all_of(Communicator const& comm, std::vector<T> const& values, std::vector<std::size_t> const& counts,
                             std::vector<std::size_t>& received) {
  std::vector<std::vector<T>> parts;
  auto next = values.begin();
  for (auto const count : counts) {
    auto const end = next + count;
    parts.emplace_back(next, end);
    next = end;
  }
  auto const arrived = finish(all_to_all(comm, std::move(parts)));
  received.clear();
  for (auto const& part : arrived) received.push_back(part.size());
  return joined(arrived);
}

template <class T>
T all_reduce_of(Communicator const& comm, T value, MPI_Op op) {
  return finish(all_reduce(comm, std::vector<T>{value}, op)).front();
}

}  // namespace

void check_mpi(int code, char const* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw RunError(std::string(call) + ": " + std::string(text, length));
}

bool mpi_takes_device_memory() {
#if defined(MPIX_CUDA_AWARE_SUPPORT) && MPIX_CUDA_AWARE_SUPPORT
  return MPIX_Query_cuda_support() == 1;
#else
  return false;
#endif
}

int checked_count(std::size_t count) {
  if (count > std::size_t{INT_MAX}) throw RunError("a message of " + std::to_string(count) + " items is over MPI's limit of 2^31 - 1");
  return static_cast<int>(count);
}

Communicator::Communicator(MPI_Comm parent, std::size_t message_limit) : Communicator(Owned{duplicate(parent)}, message_limit) {}

Communicator::Communicator(Owned owned, std::size_t message_limit) : comm_(owned.comm), message_limit_(message_limit) {
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

Communicator Communicator::split(int color) const {
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(comm_, color, rank_, &part), "MPI_Comm_split");
  return Communicator(Owned{part}, message_limit_);
}

Communicator::~Communicator() { MPI_Comm_free(&comm_); }

void Communicator::count_sent(std::size_t messages, std::size_t bytes) const {
  traffic_.messages += messages;
  traffic_.bytes += bytes;
}

void Communicator::barrier() const {
  if (!cores_are_shared) return check_mpi(MPI_Barrier(comm_), "MPI_Barrier");
  barrier_with([waiting = Waiting()]() mutable { waiting.pause(); });
}
void Communicator::sleeping_barrier() const {
  barrier_with([] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
}
template <class Pause>
void Communicator::barrier_with(Pause pause) const {
  Request request;
  check_mpi(MPI_Ibarrier(comm_, request.get()), "MPI_Ibarrier");
  while (!request.advance()) pause();
}
void Communicator::broadcast(std::vector<float>& values, int root) const {
  values = finish(asymptop::broadcast(*this, std::move(values), root));
}
void Communicator::broadcast(std::vector<std::int64_t>& values, int root) const {
  values = finish(asymptop::broadcast(*this, std::move(values), root));
}
void Communicator::broadcast(std::string& text, int root) const {
  std::vector<std::int64_t> length{std::ssize(text)};
  broadcast(length, root);
  text.resize(length[0]);
  auto const characters = finish(asymptop::broadcast(*this, std::vector<char>(text.begin(), text.end()), root));
  text.assign(characters.begin(), characters.end());
}
double Communicator::max(double value) const { return all_reduce_of(*this, value, MPI_MAX); }
std::int64_t Communicator::max(std::int64_t value) const { return all_reduce_of(*this, value, MPI_MAX); }
std::int64_t Communicator::min(std::int64_t value) const { return all_reduce_of(*this, value, MPI_MIN); }
int Communicator::max(int value) const { return all_reduce_of(*this, value, MPI_MAX); }
int Communicator::min(int value) const { return all_reduce_of(*this, value, MPI_MIN); }
double Communicator::sum(double value) const { return all_reduce_of(*this, value, MPI_SUM); }
void Communicator::max(std::vector<double>& values) const { values = finish(all_reduce(*this, std::move(values), MPI_MAX)); }
void Communicator::sum(std::vector<std::int64_t>& values) const { values = finish(all_reduce(*this, std::move(values), MPI_SUM)); }
std::vector<std::int64_t> Communicator::reduce_scatter(std::vector<std::int64_t> const& values,
                                                       std::vector<std::size_t> const& counts) const {
  return finish(asymptop::reduce_scatter(*this, values, counts));
}
std::vector<std::int64_t> Communicator::all_gather(std::vector<std::int64_t> const& values) const {
  return finish(asymptop::all_gather(*this, values));
}
std::vector<float> Communicator::all_gather(std::vector<float> const& values) const { return finish(asymptop::all_gather(*this, values)); }
std::vector<double> Communicator::gather(std::vector<double> const& values) const {
  return joined(finish(asymptop::gather(*this, values)));
}
std::vector<std::string> Communicator::gather(std::string const& text) const {
  std::vector<std::string> texts;
  for (auto const& part : finish(asymptop::gather(*this, std::vector<char>(text.begin(), text.end()))))
    texts.emplace_back(part.begin(), part.end());
  return texts;
}
std::vector<std::uint64_t> Communicator::all_to_all(std::vector<std::uint64_t> const& values, std::vector<std::size_t> const& counts,
                                                    std::vector<std::size_t>& received) const {
  return all_to_all_of(*this, values, counts, received);
}
std::vector<float> Communicator::all_to_all(std::vector<float> const& values, std::vector<std::size_t> const& counts,
                                            std::vector<std::size_t>& received) const {
  return all_to_all_of(*this, values, counts, received);
}

}  // namespace asymptop
