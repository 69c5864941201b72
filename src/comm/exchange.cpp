#include "comm/exchange.hpp"

#include <algorithm>

namespace asymptop {
namespace {

/// Apart from the collective calls' own messages, the only ones of a communicator.
constexpr int tag = 1;

}  // namespace

template <class T>
Exchange<T>::Exchange(Communicator const& comm, std::vector<Outgoing<T>> const& out, std::vector<int> const& senders) : comm_(comm) {
  auto const limit = comm.message_limit();
  for (int const from : senders) incoming_.push_back({from, {}, MPI_REQUEST_NULL, false, false});
  for (auto const& [to, items] : out) {
    // A full piece says that another follows.
    for (std::size_t first = 0, count = limit; count == limit; first += count) {
      count = std::min(limit, items.size() - first);
      auto& request = sends_.emplace_back(MPI_REQUEST_NULL);
      check_mpi(MPI_Isend(items.data() + first, checked_count(count), mpi_type<T>(), to, tag, comm.get(), &request), "MPI_Isend");
      comm.count_sent(1, count * sizeof(T));
    }
  }
  if (!out.empty() || !senders.empty()) comm.count_rounds(1);
}

template <class T>
bool Exchange<T>::advance() {
  bool whole = true;
  for (auto& incoming : incoming_) whole = advance(incoming) && whole;
  int sent = 0;
  check_mpi(MPI_Testall(checked_count(sends_.size()), sends_.data(), &sent, MPI_STATUSES_IGNORE), "MPI_Testall");
  return whole && sent != 0;
}

template <class T>
bool Exchange<T>::advance(Incoming& incoming) {
  while (!incoming.whole) {
    int done = 0;
    check_mpi(MPI_Test(&incoming.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done == 0) return false;
    if (incoming.last) {
      incoming.whole = true;
      break;
    }
    MPI_Message message;
    MPI_Status status;
    check_mpi(MPI_Improbe(incoming.from, tag, comm_.get(), &done, &message, &status), "MPI_Improbe");
    if (done == 0) return false;
    int count = 0;
    check_mpi(MPI_Get_count(&status, mpi_type<T>(), &count), "MPI_Get_count");
    auto const first = incoming.items.size();
    incoming.items.resize(first + static_cast<std::size_t>(count));
    check_mpi(MPI_Imrecv(incoming.items.data() + first, count, mpi_type<T>(), &message, &incoming.request), "MPI_Imrecv");
    incoming.last = static_cast<std::size_t>(count) < comm_.message_limit();
  }
  return true;
}

template <class T>
std::vector<std::vector<T>> Exchange<T>::take() {
  std::vector<std::vector<T>> received;
  for (auto& incoming : incoming_) received.push_back(std::move(incoming.items));
  return received;
}

template class Exchange<float>;
template class Exchange<double>;
template class Exchange<char>;
template class Exchange<std::int64_t>;
template class Exchange<std::uint32_t>;
template class Exchange<std::uint64_t>;

}  // namespace asymptop
