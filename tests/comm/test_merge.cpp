// Merging over ranks against a sort or sum of everything. Every rank makes the same whole problem and its own part of it:
//
//   keys      0 .......... n      rank r's lists hold the candidates of its shard
//   rank      | 0 | 1 | 2 |       row i comes home to owner[i]
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <ctime>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/merge/merge_profile.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "config/errors.hpp"
#include "shard/partition.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;

std::vector<int> owners_of(int rows, int ranks) {
  std::vector<int> owners;
  for (int r = 0; r < ranks; ++r) {
    auto const own = owned_rows(rows, r, ranks);
    owners.insert(owners.end(), static_cast<std::size_t>(own.size()), r);
  }
  return owners;
}

struct MergeCase {
  int rows;
  GlobalIndex n, block;
  std::size_t keep;
  std::size_t local_keep;  ///< candidates that a rank offers; at least keep, or its whole shard
};

/// scores(row, key) for all keys; merges the ranks' sorted candidates and compares with a sort of all keys.
void expect_merged(MergeCase const& c, std::vector<std::vector<float>> const& scores) {
  Communicator const comm(MPI_COMM_WORLD);
  auto const shard = key_shard(c.n, c.block, comm.rank(), comm.size());
  std::vector<GlobalIndex> begins;
  for (int r = 0; r < comm.size(); ++r) begins.push_back(key_shard(c.n, c.block, r, comm.size()).begin);
  auto const owners = owners_of(c.rows, comm.size());
  std::vector<std::vector<PackedCandidate>> lists;
  for (auto const& row : scores) {
    auto& list = lists.emplace_back();
    for (auto j = shard.begin; j < shard.end; ++j)
      list.push_back(pack(row[static_cast<std::size_t>(j)], static_cast<LocalIndex>(j - shard.begin)));
    std::sort(list.begin(), list.end(), std::greater<>());
    list.resize(std::min(list.size(), c.local_keep));
  }
  auto const mine = owned_rows(c.rows, comm.rank(), comm.size());
  for (auto const strategy : all_merge_strategies) {
    auto const merged = finish(merge_top_k(comm, strategy, lists, owners, begins, c.keep));
    ASSERT_EQ(static_cast<GlobalIndex>(merged.size()), mine.size());
    for (std::size_t i = 0; i < merged.size(); ++i) {
      auto const& row = scores[static_cast<std::size_t>(mine.begin) + i];
      CandidateList all;
      for (GlobalIndex j = 0; j < c.n; ++j) all.push_back({row[static_cast<std::size_t>(j)], j});
      std::sort(all.begin(), all.end(), before);
      all.resize(std::min(all.size(), c.keep));
      auto const what = std::string(name_of(strategy)) + ", row " + std::to_string(i) + ", n " + std::to_string(c.n);
      ASSERT_EQ(merged[i].size(), all.size()) << what << " keep " << c.keep;
      for (std::size_t j = 0; j < all.size(); ++j) {
        ASSERT_EQ(merged[i][j].score, all[j].score) << what << " candidate " << j;
        ASSERT_EQ(merged[i][j].index, all[j].index) << what << " candidate " << j << " keep " << c.keep;
      }
    }
  }
}

TEST(MergeTopK, EqualsASortOfTheUnion) {
  Random random(90);
  for (GlobalIndex const n : {1, 63, 64, 65, 300, 1000}) {
    for (int const rows : {1, 2, 3, 5, 16}) {
      for (std::size_t const keep : {1, 2, 50, 2000}) {
        for (int const values : {0, 2, 100000}) {  // zeros of both signs, ties across ranks, mostly distinct
          std::vector<std::vector<float>> scores(static_cast<std::size_t>(rows));
          for (auto& row : scores) {
            for (GlobalIndex j = 0; j < n; ++j)
              row.push_back(static_cast<float>(random.integer(-values, values)) * (j % 2 == 0 ? 0.01f : -0.01f));
          }
          expect_merged({rows, n, 64, keep, keep}, scores);
          expect_merged({rows, n, 64, keep, keep + 7}, scores);  // lists longer than what is kept
        }
      }
    }
  }
}

TEST(MergeTopK, AllOfTheBestOnOneRank) {
  for (bool const ascending : {true, false}) {
    std::vector<float> row;
    for (int j = 0; j < 512; ++j) row.push_back(static_cast<float>(ascending ? j : -j));
    expect_merged({2, 512, 64, 100, 100}, {row, row});
  }
}

TEST(MergeTopK, NoRowsAndEmptyLists) {
  Communicator const comm(MPI_COMM_WORLD);
  std::vector<GlobalIndex> const begins(static_cast<std::size_t>(comm.size()), 0);
  auto const owners = owners_of(6, comm.size());
  for (auto const strategy : all_merge_strategies) {
    EXPECT_TRUE(finish(merge_top_k(comm, strategy, {}, {}, begins, 5)).empty());
    auto const merged = finish(merge_top_k(comm, strategy, std::vector<std::vector<PackedCandidate>>(6), owners, begins, 5));
    EXPECT_EQ(static_cast<GlobalIndex>(merged.size()), owned_rows(6, comm.rank(), comm.size()).size());
    for (auto const& list : merged) EXPECT_TRUE(list.empty());
  }
  EXPECT_THROW(finish(merge_top_k(comm, MergeStrategy::automatic, {}, {}, begins, 5)), RunError);
}

/// Only the last rank has keys: shards of the others are empty.
TEST(MergeTopK, OneRankHasAll) {
  Communicator const comm(MPI_COMM_WORLD);
  bool const last = comm.rank() == comm.size() - 1;
  std::vector<std::vector<PackedCandidate>> const lists(
      3, last ? std::vector<PackedCandidate>{pack(2.0f, 1), pack(-0.0f, 0)} : std::vector<PackedCandidate>{});
  std::vector<GlobalIndex> begins(static_cast<std::size_t>(comm.size()), 0);
  begins.back() = GlobalIndex{1} << 40;
  for (auto const strategy : all_merge_strategies) {
    for (auto const& list : finish(merge_top_k(comm, strategy, lists, owners_of(3, comm.size()), begins, 10))) {
      ASSERT_EQ(list.size(), 2u);
      EXPECT_EQ(list[0].index, (GlobalIndex{1} << 40) + 1);
      EXPECT_EQ(list[1].index, GlobalIndex{1} << 40);
      EXPECT_EQ(list[1].score, 0.0f);
    }
  }
}

TEST(MergeProfile, SumsAtTheOwner) {
  Communicator const comm(MPI_COMM_WORLD);
  Random random(91);
  for (int const rows : {0, 1, 2, 3, 17}) {
    for (std::size_t const length : {1, 3, 100}) {
      auto const size = static_cast<std::size_t>(rows) * length;
      std::vector<std::int64_t> total(size, 0), mine;
      for (int r = 0; r < comm.size(); ++r) {  // the same numbers on every rank; each contributes its own part
        for (std::size_t i = 0; i < size; ++i) {
          auto const value = random.integer(-(std::int64_t{1} << 60), std::int64_t{1} << 60);
          total[i] += value;
          if (r == comm.rank()) mine.push_back(value);
        }
      }
      auto const merged = finish(merge_profile(comm, mine, owners_of(rows, comm.size()), length));
      auto const own = owned_rows(rows, comm.rank(), comm.size());
      auto const* first = total.data() + own.begin * static_cast<GlobalIndex>(length);
      EXPECT_EQ(merged, std::vector<std::int64_t>(first, first + own.size() * static_cast<GlobalIndex>(length)))
          << "rows " << rows << " length " << length;
    }
  }
  EXPECT_THROW(comm.reduce_scatter({1, 2, 3}, std::vector<std::size_t>(static_cast<std::size_t>(comm.size()), 100)), RunError);
}

TEST(Communicator, GathersInRankOrder) {
  Communicator const comm(MPI_COMM_WORLD);
  auto const rank = static_cast<std::size_t>(comm.rank()), size = static_cast<std::size_t>(comm.size());
  // Rank r gives r items, so rank 0 gives none.
  std::vector<std::int64_t> expected;
  for (std::size_t r = 0; r < size; ++r) expected.insert(expected.end(), r, static_cast<std::int64_t>(10 * r));
  EXPECT_EQ(comm.all_gather(std::vector<std::int64_t>(rank, static_cast<std::int64_t>(10 * rank))), expected);
  auto const texts = comm.gather(std::string(rank, 'x'));
  EXPECT_EQ(texts.size(), comm.is_root() ? size : 0u);
  for (std::size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
  // counts[r] = r + 1 items to rank r, each the sender's rank.
  std::vector<std::size_t> counts, received;
  for (std::size_t r = 0; r < size; ++r) counts.push_back(r + 1);
  auto const arrived = comm.all_to_all(std::vector<float>(size * (size + 1) / 2, static_cast<float>(rank)), counts, received);
  EXPECT_EQ(received, std::vector<std::size_t>(size, rank + 1));
  ASSERT_EQ(arrived.size(), size * (rank + 1));
  for (std::size_t i = 0; i < arrived.size(); ++i) EXPECT_EQ(arrived[i], static_cast<float>(i / (rank + 1)));
  std::string text = comm.is_root() ? "all of it" : "";
  comm.broadcast(text);
  EXPECT_EQ(text, "all of it");
  EXPECT_EQ(comm.max(static_cast<std::int64_t>(rank)), static_cast<std::int64_t>(size) - 1);
  EXPECT_EQ(comm.min(static_cast<std::int64_t>(rank)), 0);
}

TEST(Communicator, SplitsIntoCommunicatorsOfTheirOwn) {
  Communicator const comm(MPI_COMM_WORLD);
  auto const part = comm.split(comm.rank() % 2);
  EXPECT_EQ(part.size(), (comm.size() + (comm.rank() % 2 == 0 ? 1 : 0)) / 2);
  EXPECT_EQ(part.rank(), comm.rank() / 2);
  EXPECT_EQ(part.max(static_cast<std::int64_t>(comm.rank())), 2 * part.size() - 2 + comm.rank() % 2);
}

TEST(Communicator, SleepingBarrierWaitsForAllAndBurnsNoCore) {
  Communicator const comm(MPI_COMM_WORLD);
  auto const processor_seconds = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  // Ranks of one host have one clock. Where there are more of them than cores, one may leave a barrier long after another.
  auto const now = [] { return static_cast<std::int64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); };
  comm.barrier();
  double const used = processor_seconds();
  if (comm.is_root()) std::this_thread::sleep_for(std::chrono::milliseconds(500));
  auto const came = now();
  comm.sleeping_barrier();
  auto const left = now();
  EXPECT_LT(processor_seconds() - used, 0.25) << "a rank that spins uses a core all the while";
  EXPECT_GE(left, comm.max(came)) << "before the last rank came";
}

TEST(Communicator, CountsOverMpiIntAreRefused) {
  EXPECT_EQ(checked_count(0), 0);
  EXPECT_EQ(checked_count(static_cast<std::size_t>(INT_MAX)), INT_MAX);
  EXPECT_THROW(checked_count(static_cast<std::size_t>(INT_MAX) + 1), RunError);
  EXPECT_THROW(checked_count(std::size_t{1} << 40), RunError);
}

TEST(Partition, CoversAllKeysOnceInWholeBlocks) {
  Random random(92);
  auto const check = [](GlobalIndex n, GlobalIndex block, int ranks) {
    GlobalIndex next = 0, least = n, most = 0;
    for (int r = 0; r < ranks; ++r) {
      auto const shard = key_shard(n, block, r, ranks);
      ASSERT_EQ(shard.begin, next) << "n " << n << " block " << block << " rank " << r << " of " << ranks;
      ASSERT_GE(shard.end, shard.begin);
      ASSERT_TRUE(shard.end % block == 0 || shard.end == n);
      auto const blocks = (shard.size() + block - 1) / block;
      least = std::min(least, blocks);
      most = std::max(most, blocks);
      next = shard.end;
    }
    ASSERT_EQ(next, n) << "n " << n << " block " << block << " ranks " << ranks;
    ASSERT_LE(most - least, 1) << "n " << n << " block " << block << " ranks " << ranks;
  };
  for (GlobalIndex const n : {GlobalIndex{1}, GlobalIndex{63}, GlobalIndex{64}, GlobalIndex{65}, GlobalIndex{4095}, GlobalIndex{4097},
                              GlobalIndex{1} << 20, (GlobalIndex{1} << 48) - 1, GlobalIndex{1} << 48}) {
    for (GlobalIndex const block : {64, 4096, 1 << 20}) {
      for (int const ranks : {1, 2, 3, 4, 7, 64, 1000}) check(n, block, ranks);
    }
  }
  for (int trial = 0; trial < 2000; ++trial)
    check(random.integer(1, 1 << 22), GlobalIndex{64} << random.integer(0, 14), static_cast<int>(random.integer(1, 300)));
}

TEST(Partition, RowsAreOwnedOnce) {
  for (int const rows : {0, 1, 2, 3, 64, 1000, 1 << 20}) {
    for (int const ranks : {1, 2, 3, 7, 64, 4096}) {
      GlobalIndex next = 0;
      for (int r = 0; r < ranks; ++r) {
        auto const own = owned_rows(rows, r, ranks);
        ASSERT_EQ(own.begin, next);
        ASSERT_LE(own.size(), rows / ranks + 1);
        next = own.end;
      }
      ASSERT_EQ(next, rows) << ranks;
    }
  }
}

}  // namespace
}  // namespace asymptop
