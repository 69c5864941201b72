// Random merges on groups of 1, 2, 3, 4, 5, 7, 8 and 16 ranks: every strategy gives the sort of all lists. 16 ranks run at once and split:
//
//   rank              0 1 2 3 4 5 6 7 8 9 ...
//   groups of 3       a a a b b b c c c d ...      every group merges the same case, the last group with the ranks that are left
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "shard/partition.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;

struct RandomMerge {
  int rows;
  GlobalIndex n, block;
  std::size_t keep;
  int kind;        ///< of scores
  bool cut_short;  ///< whether ranks offer fewer candidates than they have
  std::uint64_t salt;

  std::string text() const {
    return "rows " + std::to_string(rows) + ", n " + std::to_string(n) + ", block " + std::to_string(block) + ", keep " +
           std::to_string(keep) + ", kind " + std::to_string(kind) + (cut_short ? ", cut short" : "");
  }
};

RandomMerge random_merge(Random& random, int trial) {
  RandomMerge c;
  c.rows = static_cast<int>(random.integer(trial % 10 == 0 ? 0 : 1, 40));
  c.block = GlobalIndex{1} << random.integer(0, 6);
  c.n = random.integer(1, trial % 3 == 0 ? c.block : trial % 3 == 1 ? 16 * c.block : 500);  // n < block; ranks without a block; any
  c.keep = static_cast<std::size_t>(trial % 4 == 0 ? c.n : random.integer(1, c.n + 3));
  c.kind = static_cast<int>(random.integer(0, 6));
  c.cut_short = random.integer(0, 4) == 0;
  c.salt = random.bits();
  return c;
}

std::vector<float> scores_of(RandomMerge const& c, Random& random) {
  std::vector<float> scores;
  for (GlobalIndex j = 0; j < c.n; ++j) {
    auto const place = static_cast<float>(j);
    switch (c.kind) {
      case 0:
        scores.push_back(1.5f);
        break;
      case 1:
        scores.push_back(place);
        break;
      case 2:
        scores.push_back(-place);
        break;
      case 3:
        scores.push_back(static_cast<float>(random.integer(-1, 1)) * 0.0f);  // zeros of both signs
        break;
      case 4:
        scores.push_back(static_cast<float>(random.integer(0, 3)));
        break;
      case 5:
        scores.push_back(random.integer(0, 2) == 0 ? -std::numeric_limits<float>::infinity() : static_cast<float>(random.normal()));
        break;
      default:
        scores.push_back(static_cast<float>(random.normal()));
    }
  }
  return scores;
}

/// Lists of every rank of a group, and the best of them all.
void expect_same_bytes(Communicator const& comm, RandomMerge const& c) {
  Random random(c.salt);
  std::vector<GlobalIndex> begins;
  std::vector<int> owners;
  for (int r = 0; r < comm.size(); ++r) {
    begins.push_back(key_shard(c.n, c.block, r, comm.size()).begin);
    owners.insert(owners.end(), static_cast<std::size_t>(owned_rows(c.rows, r, comm.size()).size()), r);
  }
  std::vector<std::vector<PackedCandidate>> mine;
  std::vector<CandidateList> wanted;
  for (int row = 0; row < c.rows; ++row) {
    auto const scores = scores_of(c, random);
    CandidateList all;
    for (int r = 0; r < comm.size(); ++r) {
      auto const shard = key_shard(c.n, c.block, r, comm.size());
      std::vector<PackedCandidate> list;
      for (auto j = shard.begin; j < shard.end; ++j)
        list.push_back(pack(scores[static_cast<std::size_t>(j)], static_cast<LocalIndex>(j - shard.begin)));
      std::sort(list.begin(), list.end(), std::greater<>());
      if (c.cut_short) list.resize(static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(list.size()))));
      for (auto const entry : list) all.push_back({score_of(entry), shard.begin + static_cast<GlobalIndex>(index_of(entry))});
      if (r == comm.rank()) mine.push_back(std::move(list));
    }
    std::sort(all.begin(), all.end(), before);
    all.resize(std::min(all.size(), c.keep));
    if (owners[static_cast<std::size_t>(row)] == comm.rank()) wanted.push_back(std::move(all));
  }
  for (auto const strategy : all_merge_strategies) {
    auto const merged = finish(merge_top_k(comm, strategy, mine, owners, begins, c.keep));
    ASSERT_EQ(merged.size(), wanted.size()) << name_of(strategy) << " on " << comm.size() << " ranks: " << c.text();
    for (std::size_t i = 0; i < merged.size(); ++i) {
      bool const same =
          std::equal(merged[i].begin(), merged[i].end(), wanted[i].begin(), wanted[i].end(), [](auto const& a, auto const& b) {
            return a.index == b.index && std::bit_cast<std::uint32_t>(a.score) == std::bit_cast<std::uint32_t>(b.score);
          });
      EXPECT_TRUE(same) << name_of(strategy) << " on " << comm.size() << " ranks, row " << i << " of rank " << comm.rank() << ": "
                        << c.text();
    }
  }
}

class Strategies : public ::testing::TestWithParam<int> {};

TEST_P(Strategies, GiveTheSameBytes) {
  Communicator const world(MPI_COMM_WORLD);
  Communicator const small(MPI_COMM_WORLD, 7);  // every list in many messages
  auto const part = world.split(world.rank() / GetParam()), small_part = small.split(world.rank() / GetParam());
  Random random(95);
  for (int trial = 0; trial < 60; ++trial) expect_same_bytes(trial % 3 == 2 ? small_part : part, random_merge(random, trial));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Strategies, ::testing::Values(1, 2, 3, 4, 5, 7, 8, 16),
                         [](auto const& info) { return std::to_string(info.param); });

/// Messages and bytes are what src/comm/README.md says.
TEST(Strategies, SendWhatTheirFormulasSay) {
  Communicator const world(MPI_COMM_WORLD);
  auto const comm = world.split(world.rank() / 8);
  constexpr std::int64_t ranks = 8, rows = 64, keep = 1024;
  ASSERT_EQ(comm.size(), ranks);
  Random random(96);
  std::vector<std::vector<PackedCandidate>> lists;
  std::vector<GlobalIndex> begins;
  std::vector<int> owners;
  for (std::int64_t row = 0; row < rows; ++row) owners.push_back(static_cast<int>(row / (rows / ranks)));
  for (std::int64_t r = 0; r < ranks; ++r) begins.push_back(r << 17);
  for (std::int64_t i = 0; i < rows * ranks; ++i) {
    std::vector<PackedCandidate> list;
    double depth = 0.0;
    for (std::int64_t j = 0; j < keep; ++j)
      list.push_back(pack(static_cast<float>(-(depth -= std::log(random.uniform(1e-12, 1.0)))), static_cast<LocalIndex>(j)));
    std::sort(list.begin(), list.end(), std::greater<>());
    if (i % ranks == comm.rank()) lists.push_back(std::move(list));
  }
  auto const sent = [&](MergeStrategy strategy) {
    auto const before = comm.traffic();
    finish(merge_top_k(comm, strategy, lists, owners, begins, keep));
    auto const mine = comm.traffic() - before;
    std::vector<std::int64_t> sums{mine.bytes, mine.messages};
    comm.sum(sums);
    return Traffic{sums[0], sums[1], mine.rounds};
  };
  auto const root = sent(MergeStrategy::root), owner = sent(MergeStrategy::owner), tree = sent(MergeStrategy::tree),
             threshold = sent(MergeStrategy::threshold);
  EXPECT_EQ(root.bytes, (ranks - 1) * rows * (8 + 8 * keep) + rows / ranks * (ranks - 1) * (8 + 10 * keep));
  EXPECT_EQ(root.messages, 2 * (ranks - 1));
  EXPECT_EQ(root.rounds, 2);
  EXPECT_EQ(owner.bytes, (ranks - 1) * rows * (8 + 8 * keep));
  EXPECT_EQ(owner.messages, ranks * (ranks - 1));
  EXPECT_EQ(owner.rounds, 1);
  EXPECT_EQ(tree.bytes, ranks * rows * ((8 + 8 * keep) / 2 + (8 + 10 * keep) / 4 + (8 + 10 * keep) / 8));
  EXPECT_EQ(tree.messages, ranks * 3);
  EXPECT_EQ(tree.rounds, 3);
  // Lengths and 37 samples, cuts, lengths; what is left are candidates, those that stay at home not among them.
  EXPECT_EQ(threshold.messages, 3 * ranks * (ranks - 1));
  EXPECT_EQ(threshold.rounds, 3);
  auto const candidates = (threshold.bytes - (ranks - 1) * rows * (4 * 38 + 8 + 8)) / 8;
  EXPECT_GT(candidates, keep * rows * (ranks - 1) / ranks);
  EXPECT_LT(static_cast<double>(candidates), 1.2 * static_cast<double>(keep * rows * (ranks - 1)) / ranks);
}

}  // namespace
}  // namespace asymptop
