#include "comm/exchange.hpp"

#include <algorithm>

#include "config/errors.hpp"

namespace asymptop {

template <class T>
Exchange<T>::Exchange(Communicator const& comm, std::vector<Outgoing<T>> const& out, std::vector<int> const& senders)
    : comm_(comm), tag_(comm.next_tag()), unfinished_(senders.size()) {
  auto const limit = comm.message_limit();
  for (int const from : senders) incoming_.push_back({from, {}});
  for (auto const& [to, items] : out) {
    // A full piece says that another follows.
    for (std::size_t first = 0, count = limit; count == limit; first += count) {
      count = std::min(limit, items.size() - first);
      auto& request = requests_.emplace_back(MPI_REQUEST_NULL);
      check_mpi(MPI_Isend(items.data() + first, checked_count(count), mpi_type<T>(), to, tag_, comm.get(), &request), "MPI_Isend");
      comm.count_sent(1, count * sizeof(T));
    }
  }
  if (!out.empty() || !senders.empty()) comm.count_rounds(1);
}

template <class T>
bool Exchange<T>::advance() {
  // One look at a time: MPI may give the core away at each that finds nothing.
  for (int found = 1; unfinished_ > 0 && found != 0;) {
    MPI_Message message;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, tag_, comm_.get(), &found, &message, &status), "MPI_Improbe");
    if (found != 0) receive(message, status);
  }
  if (unfinished_ > 0) return false;
  int done = 0;
  check_mpi(MPI_Testall(checked_count(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
  return done != 0;
}

template <class T>
void Exchange<T>::receive(MPI_Message message, MPI_Status const& status) {
  auto const sender = std::find_if(incoming_.begin(), incoming_.end(), [&](auto const& i) { return i.from == status.MPI_SOURCE; });
  if (sender == incoming_.end())
    throw RunError("a message came from rank " + std::to_string(status.MPI_SOURCE) + ", which should send none");
  int count = 0;
  check_mpi(MPI_Get_count(&status, mpi_type<T>(), &count), "MPI_Get_count");
  auto& piece = sender->pieces.emplace_back(count);
  auto& request = requests_.emplace_back(MPI_REQUEST_NULL);
  check_mpi(MPI_Imrecv(piece.data(), count, mpi_type<T>(), &message, &request), "MPI_Imrecv");
  if (piece.size() < comm_.message_limit()) --unfinished_;
}

template <class T>
std::vector<std::vector<T>> Exchange<T>::take() {
  std::vector<std::vector<T>> received;
  for (auto& incoming : incoming_) {
    auto& items = received.emplace_back(std::move(incoming.pieces.front()));
    for (std::size_t i = 1; i < incoming.pieces.size(); ++i)
      items.insert(items.end(), incoming.pieces[i].begin(), incoming.pieces[i].end());
  }
  return received;
}

template class Exchange<float>;
template class Exchange<double>;
template class Exchange<char>;
template class Exchange<std::int64_t>;
template class Exchange<std::uint32_t>;
template class Exchange<std::uint64_t>;

}  // namespace asymptop
