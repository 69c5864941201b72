#include "comm/merge/measure_network.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

#include "comm/collectives.hpp"
#include "comm/exchange.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int repetitions = 3;

/// Seconds of some work that all ranks do at once.
template <class Work>
double timed(Communicator const& comm, Work const& work) {
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < repetitions; ++i) {
    comm.barrier();
    auto const begin = Clock::now();
    work();
    best = std::min(best, comm.max(std::chrono::duration<double>(Clock::now() - begin).count()));
  }
  return best;
}

Task<void> shift(Communicator const& comm) {
  std::vector<std::uint64_t> const word(1);
  std::vector<Outgoing<std::uint64_t>> const out{{(comm.rank() + 1) % comm.size(), word}};
  std::vector<int> const senders{(comm.rank() + comm.size() - 1) % comm.size()};
  Exchange<std::uint64_t> exchange(comm, out, senders);
  co_await exchange;
}

/// Two lists of one length whose candidates alternate without a pattern.
std::vector<SortedRow> two_lists(std::size_t length) {
  std::vector<SortedRow> lists(2);
  std::uint64_t state = 1, score = std::uint64_t{1} << 31;
  while (lists[0].size() < length || lists[1].size() < length) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    bool const second = lists[0].size() == length || (lists[1].size() < length && state >> 63 != 0);
    std::uint16_t const which = second ? 1 : 0;
    lists[which].entries.push_back(--score << 32);
    lists[which].sources.push_back(which);
  }
  return lists;
}

}  // namespace

Network measure_network(Communicator const& comm) {
  Network network;
  if (comm.size() == 1) return network;
  std::size_t const ranks = comm.size();
  auto const everyone = [&](std::size_t words) {
    return timed(comm, [&] { finish(all_to_all(comm, std::vector(ranks, std::vector<std::uint64_t>(words)))); });
  };
  network.latency = timed(comm, [&] { finish(shift(comm)); });
  double const all = everyone(1);
  network.overhead = ranks > 2 ? std::max(0.0, all - network.latency) / (comm.size() - 2) : 0.0;
  auto const words = std::max<std::size_t>(1024, (std::size_t{1} << 17) / (ranks - 1));
  double const bytes = 8.0 * exact_double(words * (ranks - 1));
  network.bandwidth = bytes / std::max(everyone(words) - all, 1e-9);
  constexpr std::size_t length = 8192;
  auto const lists = two_lists(length);
  network.merge_rate = 2.0 * length / timed(comm, [&] { merge_best(lists[0], lists[1], 2 * length); });
  return network;
}

}  // namespace asymptop
