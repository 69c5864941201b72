// Calls whose items do not fit into one message, what is counted as sent, and messages in flight beside other work.
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/collectives.hpp"
#include "comm/communicator.hpp"
#include "comm/exchange.hpp"
#include "config/errors.hpp"

namespace asymptop {
namespace {

using Integers = std::vector<std::int64_t>;

constexpr std::size_t limit = 7;

/// Lengths around whole messages.
constexpr std::size_t lengths[] = {0, 1, 6, 7, 8, 13, 14, 15, 100};

/// Item i of what rank r has.
std::int64_t item(int r, std::size_t i) { return 1000000 * (r + 1) + static_cast<std::int64_t>(i); }

Integers items(int r, std::size_t count, std::size_t first = 0) {
  Integers values;
  for (std::size_t i = first; i < first + count; ++i) values.push_back(item(r, i));
  return values;
}

template <class T>
std::vector<T> as(Integers const& values) {
  return {values.begin(), values.end()};
}

/// Pieces of one message: a full one is followed by another.
std::int64_t pieces(std::size_t count) { return static_cast<std::int64_t>(count / limit + 1); }

class Pieces : public ::testing::TestWithParam<std::size_t> {
 protected:
  Communicator const comm{MPI_COMM_WORLD, limit};
  int const ranks = comm.size();
};

TEST_P(Pieces, ReachEveryRank) {
  for (int root = 0; root < ranks; ++root) {
    Integers values = comm.rank() == root ? items(root, GetParam()) : Integers(GetParam());
    comm.broadcast(values, root);
    EXPECT_EQ(values, items(root, GetParam()));
    auto floats = as<float>(comm.rank() == root ? items(root, GetParam()) : Integers(GetParam()));
    comm.broadcast(floats, root);
    EXPECT_EQ(floats, as<float>(items(root, GetParam())));
    std::string const wanted(GetParam(), static_cast<char>('a' + root));
    std::string text = comm.rank() == root ? wanted : "something else";
    comm.broadcast(text, root);
    EXPECT_EQ(text, wanted);
  }
}

TEST_P(Pieces, AreReduced) {
  Integers sums = items(comm.rank(), GetParam()), wanted(GetParam(), 0);
  auto highest = as<double>(sums);
  for (int r = 0; r < ranks; ++r) {
    for (std::size_t i = 0; i < GetParam(); ++i) wanted[i] += item(r, i);
  }
  comm.sum(sums);
  EXPECT_EQ(sums, wanted);
  comm.max(highest);
  EXPECT_EQ(highest, as<double>(items(ranks - 1, GetParam())));
  // Rank r keeps the parameter's length plus r of the items.
  std::vector<std::size_t> counts;
  for (int r = 0; r < ranks; ++r) counts.push_back(GetParam() + static_cast<std::size_t>(r));
  auto const all = std::accumulate(counts.begin(), counts.end(), std::size_t{0});
  auto const begin = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::size_t{0});
  auto const kept = comm.reduce_scatter(items(comm.rank(), all), counts);
  ASSERT_EQ(kept.size(), counts[static_cast<std::size_t>(comm.rank())]);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    std::int64_t sum = 0;
    for (int r = 0; r < ranks; ++r) sum += item(r, begin + i);
    ASSERT_EQ(kept[i], sum) << i;
  }
}

TEST_P(Pieces, AreGathered) {
  // Rank r gives r more than the parameter's length, so that the ranks' numbers of messages differ.
  auto const count = [&](int r) { return GetParam() + static_cast<std::size_t>(r); };
  Integers wanted;
  for (int r = 0; r < ranks; ++r) {
    auto const part = items(r, count(r));
    wanted.insert(wanted.end(), part.begin(), part.end());
  }
  auto const mine = items(comm.rank(), count(comm.rank()));
  EXPECT_EQ(comm.all_gather(mine), wanted);
  EXPECT_EQ(comm.all_gather(as<float>(mine)), as<float>(wanted));
  EXPECT_EQ(comm.gather(as<double>(mine)), comm.is_root() ? as<double>(wanted) : std::vector<double>());
  auto const texts = comm.gather(std::string(count(comm.rank()), static_cast<char>('a' + comm.rank())));
  ASSERT_EQ(texts.size(), comm.is_root() ? static_cast<std::size_t>(ranks) : 0u);
  for (std::size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(count(static_cast<int>(r)), static_cast<char>('a' + r)));
}

TEST_P(Pieces, GoFromAllToAll) {
  // To rank r: the parameter's length plus r items.
  std::vector<std::size_t> counts, received;
  Integers values;
  for (int r = 0; r < ranks; ++r) {
    counts.push_back(GetParam() + static_cast<std::size_t>(r));
    auto const part = items(comm.rank(), counts.back(), static_cast<std::size_t>(1000 * r));
    values.insert(values.end(), part.begin(), part.end());
  }
  auto const before = comm.traffic();
  auto const arrived = comm.all_to_all(as<std::uint64_t>(values), counts, received);
  auto const sent = comm.traffic() - before;
  auto const mine = GetParam() + static_cast<std::size_t>(comm.rank());
  EXPECT_EQ(received, std::vector<std::size_t>(static_cast<std::size_t>(ranks), mine));
  Integers wanted;
  std::int64_t bytes = 0, messages = 0;
  for (int r = 0; r < ranks; ++r) {
    auto const part = items(r, mine, static_cast<std::size_t>(1000 * comm.rank()));
    wanted.insert(wanted.end(), part.begin(), part.end());
    if (r == comm.rank()) continue;
    bytes += 8 * static_cast<std::int64_t>(counts[static_cast<std::size_t>(r)]);
    messages += pieces(counts[static_cast<std::size_t>(r)]);
  }
  EXPECT_EQ(arrived, as<std::uint64_t>(wanted));
  EXPECT_EQ(sent.bytes, bytes);
  EXPECT_EQ(sent.messages, messages);
  EXPECT_EQ(sent.rounds, ranks > 1 ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Lengths, Pieces, ::testing::ValuesIn(lengths), [](auto const& info) { return std::to_string(info.param); });

TEST(Traffic, CountsCollectiveCallsAsTheirPlainAlgorithms) {
  Communicator const comm(MPI_COMM_WORLD);
  std::int64_t const others = comm.size() - 1, alone = comm.size() == 1 ? 1 : 0;
  auto before = comm.traffic();
  Integers values(10);
  comm.broadcast(values);
  auto sent = comm.traffic() - before;
  EXPECT_EQ(sent.messages, comm.is_root() ? others : 0);
  EXPECT_EQ(sent.bytes, comm.is_root() ? 80 * others : 0);
  EXPECT_EQ(sent.rounds, 1 - alone);
  before = comm.traffic();
  comm.sum(values);
  sent = comm.traffic() - before;
  EXPECT_EQ(sent.messages, comm.is_root() ? others : 1);
  EXPECT_EQ(sent.bytes, comm.is_root() ? 80 * others : 80);
  EXPECT_EQ(sent.rounds, 2 * (1 - alone));
  before = comm.traffic();
  comm.gather(std::vector<double>(5));
  sent = comm.traffic() - before;
  EXPECT_EQ(sent.messages, comm.is_root() ? 0 : 1);
  EXPECT_EQ(sent.bytes, comm.is_root() ? 0 : 40);
  // A part starts at nothing.
  EXPECT_EQ(comm.split(0).traffic().bytes, 0);
}

Task<std::int64_t> sum_in_steps(Communicator const& comm, int steps) {
  std::int64_t total = 0;
  for (int step = 0; step < steps; ++step) {
    auto gathering = all_gather(comm, Integers(static_cast<std::size_t>(comm.rank() + step), comm.rank() + 1));
    auto const all = co_await gathering;
    total += std::accumulate(all.begin(), all.end(), std::int64_t{0});
  }
  co_return total;
}

std::int64_t expected_sum(int ranks, int steps) {
  std::int64_t total = 0;
  for (int step = 0; step < steps; ++step) {
    for (int r = 0; r < ranks; ++r) total += (r + step) * (r + 1);
  }
  return total;
}

/// Many tasks at once, each with messages of its own communicator, advanced in another order on every rank.
TEST(Task, RunsBesideOthers) {
  Communicator const world(MPI_COMM_WORLD);
  constexpr std::size_t tasks = 5;
  std::vector<std::unique_ptr<Communicator>> comms;
  for (std::size_t i = 0; i < tasks; ++i) comms.push_back(std::make_unique<Communicator>(world.get(), i % 2 == 0 ? limit : 1000));
  std::vector<Task<std::int64_t>> running;
  for (std::size_t i = 0; i < tasks; ++i) running.push_back(sum_in_steps(*comms[i], static_cast<int>(10 * i)));
  std::size_t done = 0;
  for (std::size_t turn = 0; done < tasks; ++turn) {
    done = 0;
    auto const first = (turn + static_cast<std::size_t>(world.rank())) % tasks;
    for (std::size_t i = 0; i < tasks; ++i) done += running[(first + i) % tasks].advance() ? 1 : 0;
  }
  for (std::size_t i = 0; i < tasks; ++i) EXPECT_EQ(running[i].take(), expected_sum(world.size(), static_cast<int>(10 * i))) << i;
}

/// Done on the second look.
class Late final : public InFlight {
 public:
  bool advance() override { return looks_++ > 0; }
  int take() const { return looks_; }

 private:
  int looks_ = 0;
};

Task<int> fails_after(Late& late) {
  int const looks = co_await late;
  throw std::runtime_error("after " + std::to_string(looks));
  co_return looks;
}

Task<void> passes_on(Late& late, bool& reached) {
  auto inner = fails_after(late);
  co_await inner;
  reached = true;
}

TEST(Task, BringsExceptionsToWhoTakesTheResult) {
  Late late;
  bool reached = false;
  auto task = passes_on(late, reached);
  while (!task.advance()) {
  }
  EXPECT_THROW(task.take(), std::runtime_error);
  EXPECT_FALSE(reached);
}

Task<void> advances_itself(Late& late, Task<void>*& self, bool& was_done) {
  co_await late;
  was_done = self->advance();
}

TEST(Task, LeavesARunningOneAlone) {
  Late late;
  Task<void>* self = nullptr;
  bool was_done = true;
  auto task = advances_itself(late, self, was_done);
  self = &task;
  while (!task.advance()) {
  }
  EXPECT_FALSE(was_done);
}

/// Comes by the clock.
struct AtItsTime final : InFlight {
  std::chrono::steady_clock::time_point when = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  bool advance() override { return std::chrono::steady_clock::now() >= when; }
  void take() const {}
};

Task<void> waits_for(AtItsTime& message) { co_await message; }

/// Of this thread, in seconds.
double processor_time() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(Waiting, LeavesASharedCore) {
  bool const before = cores_are_shared.exchange(true);
  double exposed = 0.0, used = processor_time();
  AtItsTime first;
  finish(waits_for(first));
  AtItsTime second;
  finish(waits_for(second), exposed);
  used = processor_time() - used;
  cores_are_shared = before;
  EXPECT_LT(used, 0.04) << "of 0.2 s";
  EXPECT_GT(exposed, 0.09);
}

}  // namespace
}  // namespace asymptop
