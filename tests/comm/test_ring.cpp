// Buffers on their way round a ring, the sequence as a ring shares it, and sums that do not depend on how rows are spread.
//
//   step       0   1   2         at step s rank r holds what rank (r + s) mod P started with, byte for byte, in messages
//   rank 0     A   B   C         of any size; afterwards its own is untouched
//   rank 1     B   C   A
//   rank 2     C   A   B
#include <gtest/gtest.h>

#include <climits>
#include <numeric>
#include <thread>
#include <vector>

#include "comm/exact_sum.hpp"
#include "comm/ring.hpp"
#include "shard/partition.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

/// What a rank starts with: its own number of its own numbers.
std::vector<std::int64_t> items_of(int rank, std::size_t count) {
  std::vector<std::int64_t> items(count);
  std::iota(items.begin(), items.end(), std::int64_t{1000000} * rank);
  return items;
}

TEST(Ring, EveryRankSeesEverything) {
  // Sizes that differ, and ranks with nothing; pieces smaller than a message, not multiples of an item, and one byte.
  for (int const piece : {INT_MAX, 1000, 37, 1}) {
    Communicator const comm(MPI_COMM_WORLD, static_cast<std::size_t>(piece));
    for (int const shape : {0, 1, 2}) {
      auto const size_of = [&](int rank) -> std::size_t {
        return shape == 0 ? 50 : shape == 1 ? static_cast<std::size_t>(10 + 7 * rank) : rank % 2 == 0 ? 0 : 33;
      };
      Circulation<std::int64_t> ring(comm, 5, size_of);
      auto const own = items_of(comm.rank(), size_of(comm.rank()));
      for (int round = 0; round < 3; ++round) {
        ring.start(own);
        for (int step = 0;; ++step) {
          ASSERT_EQ(ring.source(), (comm.rank() + step) % comm.size());
          if (!ring.last()) ring.post();
          ring.poll();
          auto const expected = items_of(ring.source(), size_of(ring.source()));
          ASSERT_EQ(std::vector<std::int64_t>(ring.current().begin(), ring.current().end()), expected);
          if (ring.last()) break;
          ring.advance();
        }
      }
      std::int64_t sent = 0;
      for (int step = 0; step + 1 < comm.size(); ++step)
        sent += static_cast<std::int64_t>(size_of((comm.rank() + step) % comm.size()) * sizeof(std::int64_t));
      EXPECT_EQ(ring.bytes_sent(), 3 * sent);
    }
  }
}

TEST(Ring, TwoRingsAtOnceAndAPollFromAnotherThread) {
  Communicator const comm(MPI_COMM_WORLD);
  auto const size_of = [](int rank) { return static_cast<std::size_t>(100 + rank); };
  Circulation<std::int64_t> a(comm, 1, size_of), b(comm, 2, size_of);
  auto const own_a = items_of(comm.rank(), size_of(comm.rank())), own_b = items_of(comm.rank() + 50, size_of(comm.rank()));
  a.start(own_a);
  b.start(own_b);
  for (;;) {
    ASSERT_EQ(a.current()[0] + 50 * 1000000, b.current()[0]);
    if (a.last()) break;
    b.post();
    a.post();
    std::thread([&] { a.poll(); }).join();  // does nothing there
    a.advance();
    b.advance();
  }
}

TEST(Partition, RunsCoverTheSequenceInWholeBlocks) {
  for (GlobalIndex const n : {1, 63, 64, 65, 1000, 4096, 5000}) {
    for (int const ranks : {1, 2, 3, 4, 5, 7, 8, 16}) {
      for (bool const causal : {false, true}) {
        std::vector<int> owner(static_cast<std::size_t>(n), -1);
        for (int rank = 0; rank < ranks; ++rank) {
          GlobalIndex last = -1;
          auto const runs = owned_runs(n, 64, rank, ranks, causal);
          EXPECT_LE(runs.size(), causal ? 2u : 1u);
          for (auto const& run : runs) {
            EXPECT_GT(run.size(), 0);
            EXPECT_GT(run.begin, last);
            EXPECT_EQ(run.begin % 64, 0);
            EXPECT_TRUE(run.end % 64 == 0 || run.end == n);
            last = run.end - 1;
            for (auto i = run.begin; i < run.end; ++i) EXPECT_EQ(std::exchange(owner[static_cast<std::size_t>(i)], rank), -1);
          }
        }
        for (int const rank : owner) ASSERT_GE(rank, 0);
      }
    }
  }
}

TEST(Partition, CausalWorkIsBalancedAtEveryStep) {
  constexpr GlobalIndex n = 16384, block = 64;
  for (int const ranks : {2, 4, 8}) {
    for (int step = 0; step < ranks; ++step) {
      std::vector<double> pairs;
      for (int rank = 0; rank < ranks; ++rank) {
        double sum = 0.0;
        for (auto const& rows : owned_runs(n, block, rank, ranks, true)) {
          for (auto const& keys : owned_runs(n, block, (rank + step) % ranks, ranks, true)) {
            for (auto row = rows.begin; row < rows.end; ++row)
              sum += static_cast<double>(std::clamp<GlobalIndex>(row + 1 - keys.begin, 0, keys.size()));
          }
        }
        pairs.push_back(sum);
      }
      auto const [least, most] = std::minmax_element(pairs.begin(), pairs.end());
      EXPECT_LE(*most, 1.02 * *least) << ranks << " ranks, step " << step;
    }
  }
}

TEST(ExactSums, SameBitsHoweverRowsAreSpread) {
  Communicator const comm(MPI_COMM_WORLD);
  test::Random random(110);  // the same numbers on all ranks
  constexpr int rows = 1000;
  std::vector<double> all;
  for (int i = 0; i < 2 * rows; ++i) all.push_back(std::ldexp(random.normal(), static_cast<int>(random.integer(-20, 20))));
  Communicator const alone(MPI_COMM_SELF);
  auto const expected = exact_sums(alone, all, 2, rows);
  auto const mine = owned_rows(rows, comm.rank(), comm.size());
  std::vector<double> const part(all.begin() + 2 * mine.begin, all.begin() + 2 * mine.end);
  EXPECT_EQ(exact_sums(comm, part, 2, rows), expected);
  double plain = 0.0, size = 0.0;
  for (int i = 0; i < rows; ++i) {
    plain += all[static_cast<std::size_t>(2 * i)];
    size += std::fabs(all[static_cast<std::size_t>(2 * i)]);
  }
  EXPECT_NEAR(expected[0], plain, 1e-13 * size);
  EXPECT_EQ(exact_sums(comm, std::vector<double>(part.size(), 0.0), 2, rows), (std::vector<double>{0.0, 0.0}));
  std::vector<double> broken(part.size(), 1.0);
  if (comm.rank() + 1 == comm.size()) broken.back() = NAN;
  auto const sums = exact_sums(comm, broken, 2, rows);
  EXPECT_EQ(sums[0], rows);
  EXPECT_TRUE(std::isnan(sums[1]));
}

}  // namespace
}  // namespace asymptop
