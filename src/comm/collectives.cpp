#include "comm/collectives.hpp"

#include <algorithm>
#include <numeric>

#include "comm/exchange.hpp"
#include "config/errors.hpp"

namespace asymptop {

std::vector<int> other_ranks(Communicator const& comm) {
  std::vector<int> others;
  for (int step = 1; step < comm.size(); ++step) others.push_back((comm.rank() + step) % comm.size());
  return others;
}

template <class T>
Task<std::vector<std::vector<T>>> all_to_all(Communicator const& comm, std::vector<std::vector<T>> parts) {
  auto const others = other_ranks(comm);
  std::vector<Outgoing<T>> out;
  for (int const r : others) out.push_back({r, parts[r]});
  Exchange<T> exchange(comm, out, others);
  auto received = co_await exchange;
  for (std::size_t i = 0; i < others.size(); ++i) parts[others[i]] = std::move(received[i]);
  co_return std::move(parts);
}

template <class T>
Task<std::vector<T>> all_gather(Communicator const& comm, std::vector<T> values) {
  auto const others = other_ranks(comm);
  std::vector<Outgoing<T>> out;
  for (int const r : others) out.push_back({r, values});
  Exchange<T> exchange(comm, out, others);
  auto const received = co_await exchange;
  std::vector<std::vector<T> const*> of_rank(comm.size(), &values);
  for (std::size_t i = 0; i < others.size(); ++i) of_rank[others[i]] = &received[i];
  std::vector<T> all;
  for (auto const* part : of_rank) all.insert(all.end(), part->begin(), part->end());
  co_return std::move(all);
}

template <class T>
Task<std::vector<std::vector<T>>> gather(Communicator const& comm, std::vector<T> values) {
  std::vector<Outgoing<T>> out;
  std::vector<int> senders;
  if (comm.is_root()) {
    senders = other_ranks(comm);  // 1, 2, ...
  } else {
    out.push_back({0, values});
  }
  Exchange<T> exchange(comm, out, senders);
  auto received = co_await exchange;
  if (comm.is_root()) received.insert(received.begin(), std::move(values));
  co_return std::move(received);
}

namespace {

/// Throws RunError unless every value is someone's.
void check_counts(std::vector<std::size_t> const& counts, std::size_t values) {
  if (std::accumulate(counts.begin(), counts.end(), std::size_t{0}) != values) throw RunError("reduce_scatter: counts do not add up");
}

}  // namespace

Task<std::vector<std::int64_t>> reduce_scatter(Communicator const& comm, std::vector<std::int64_t> values,
                                               std::vector<std::size_t> counts) {
  check_counts(counts, values.size());
  auto const rank = counts.begin() + comm.rank();
  auto const begin = values.begin() + std::accumulate(counts.begin(), rank, std::size_t{0});
  std::vector<std::int64_t> own(begin, begin + (*rank));
  auto adding = reduce_scatter(comm, std::span<std::int64_t const>(values), std::move(own), std::move(counts));
  co_return co_await adding;
}

Task<std::vector<std::int64_t>> reduce_scatter(Communicator const& comm, std::span<std::int64_t const> values,
                                               std::vector<std::int64_t> own, std::vector<std::size_t> counts) {
  check_counts(counts, values.size());
  auto const others = other_ranks(comm);
  std::vector<std::size_t> first(counts.size(), 0);
  std::partial_sum(counts.begin(), counts.end() - 1, first.begin() + 1);
  std::vector<Outgoing<std::int64_t>> out;
  for (int const r : others) {
    std::size_t const rank = r;
    out.push_back({r, values.subspan(first[rank], counts[rank])});
  }
  Exchange<std::int64_t> exchange(comm, out, others);
  auto const received = co_await exchange;
  for (auto const& part : received) {
    if (part.size() != own.size()) throw RunError("reduce_scatter: counts differ between ranks");
    for (std::size_t i = 0; i < own.size(); ++i) own[i] += part[i];
  }
  co_return std::move(own);
}

template <class T>
Task<std::vector<T>> all_reduce(Communicator const& comm, std::vector<T> values, MPI_Op op) {
  std::size_t const others = comm.size() - 1;
  for (std::size_t first = 0; first < values.size(); first += comm.message_limit()) {
    auto const count = std::min(comm.message_limit(), values.size() - first);
    Request request;
    check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.data() + first, checked_count(count), mpi_type<T>(), op, comm.get(), request.get()),
              "MPI_Iallreduce");
    auto const messages = comm.is_root() ? others : std::size_t{1};
    comm.count_sent(messages, messages * count * sizeof(T));
    comm.count_rounds(2);
    co_await request;
  }
  co_return std::move(values);
}

template <class T>
Task<std::vector<T>> broadcast(Communicator const& comm, std::vector<T> values, int root) {
  std::size_t const messages = comm.rank() == root ? comm.size() - 1 : 0;
  for (std::size_t first = 0; first < values.size(); first += comm.message_limit()) {
    auto const count = std::min(comm.message_limit(), values.size() - first);
    Request request;
    check_mpi(MPI_Ibcast(values.data() + first, checked_count(count), mpi_type<T>(), root, comm.get(), request.get()), "MPI_Ibcast");
    comm.count_sent(messages, messages * count * sizeof(T));
    comm.count_rounds(1);
    co_await request;
  }
  co_return std::move(values);
}

template Task<std::vector<std::vector<float>>> all_to_all(Communicator const&, std::vector<std::vector<float>>);
template Task<std::vector<std::vector<double>>> all_to_all(Communicator const&, std::vector<std::vector<double>>);
template Task<std::vector<std::vector<std::int64_t>>> all_to_all(Communicator const&, std::vector<std::vector<std::int64_t>>);
template Task<std::vector<std::vector<std::uint32_t>>> all_to_all(Communicator const&, std::vector<std::vector<std::uint32_t>>);
template Task<std::vector<std::vector<std::uint64_t>>> all_to_all(Communicator const&, std::vector<std::vector<std::uint64_t>>);
template Task<std::vector<float>> all_gather(Communicator const&, std::vector<float>);
template Task<std::vector<double>> all_gather(Communicator const&, std::vector<double>);
template Task<std::vector<std::int64_t>> all_gather(Communicator const&, std::vector<std::int64_t>);
template Task<std::vector<std::vector<double>>> gather(Communicator const&, std::vector<double>);
template Task<std::vector<std::vector<char>>> gather(Communicator const&, std::vector<char>);
template Task<std::vector<int>> all_reduce(Communicator const&, std::vector<int>, MPI_Op);
template Task<std::vector<double>> all_reduce(Communicator const&, std::vector<double>, MPI_Op);
template Task<std::vector<std::int64_t>> all_reduce(Communicator const&, std::vector<std::int64_t>, MPI_Op);
template Task<std::vector<float>> broadcast(Communicator const&, std::vector<float>, int);
template Task<std::vector<std::int64_t>> broadcast(Communicator const&, std::vector<std::int64_t>, int);
template Task<std::vector<char>> broadcast(Communicator const&, std::vector<char>, int);

}  // namespace asymptop
