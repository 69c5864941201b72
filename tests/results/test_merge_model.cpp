// The cost model of merges: what it counts, and which strategy it takes where.
#include <gtest/gtest.h>

#include "plan/merge_model.hpp"

namespace asymptop {
namespace {

using enum MergeStrategy;

Network const fast{2e-6, 5e-7, 1e10, 2e8}, slow{1e-3, 1e-3, 1e8, 2e8}, narrow{1e-5, 1e-6, 1e7, 2e8};

TEST(MergeModel, OneRankSendsNothing) {
  for (auto const strategy : all_merge_strategies) {
    auto const estimate = estimate_merge(strategy, {1, 256, 1024, 1 << 20}, fast);
    EXPECT_EQ(estimate.bytes + estimate.seconds + estimate.messages + estimate.rounds, 0.0);
  }
  EXPECT_TRUE(choose_merge(automatic, {1, 256, 1024, 1 << 20}, {}) == owner);
}

/// The measured traffic of these sizes is in tests/comm/test_strategies.cpp.
TEST(MergeModel, CountsWhatIsSent) {
  MergeShape const shape{8, 64, 1024, 1 << 20};
  EXPECT_EQ(estimate_merge(owner, shape, fast).bytes, 7.0 * 64 * (8 + 8 * 1024));
  EXPECT_EQ(estimate_merge(owner, shape, fast).bytes_per_rank, 7.0 * 8 * (8 + 8 * 1024));
  EXPECT_EQ(estimate_merge(owner, shape, fast).messages, 56.0);
  EXPECT_EQ(estimate_merge(root, shape, fast).bytes, 7.0 * 64 * (8 + 8 * 1024) + 7.0 * 8 * (8 + 10 * 1024));
  EXPECT_EQ(estimate_merge(root, shape, fast).rounds, 2.0);
  EXPECT_EQ(estimate_merge(tree, shape, fast).bytes, 8.0 * 64 * ((8 + 8 * 1024) / 2 + (8 + 10 * 1024) / 4 + (8 + 10 * 1024) / 8));
  EXPECT_EQ(estimate_merge(tree, shape, fast).rounds, 3.0);
  auto const few = estimate_merge(threshold, shape, fast);
  EXPECT_EQ(few.rounds, 3.0);
  EXPECT_GT(few.bytes, 7.0 * 64 * 8 * 1024 / 8);
  EXPECT_LT(few.bytes, 7.0 * 64 * (8 * 1.5 * 1024 / 8 + 200));
  // Lists cannot be longer than shards.
  EXPECT_EQ(estimate_merge(owner, {8, 64, 1024, 800}, fast).bytes, 7.0 * 64 * (8 + 8 * 100));
}

TEST(MergeModel, TakesWhatIsFastest) {
  for (auto const strategy : all_merge_strategies) EXPECT_TRUE(choose_merge(strategy, {8, 64, 1024, 1 << 20}, fast) == strategy);
  EXPECT_TRUE(choose_merge(automatic, {8, 256, 1024, 1 << 20}, narrow) == threshold);
  EXPECT_TRUE(choose_merge(automatic, {8, 1, 4, 1 << 20}, fast) == owner);
  EXPECT_TRUE(choose_merge(automatic, {1024, 16, 16, 1 << 30}, slow) == tree);  // a thousand messages of a millisecond against ten
  for (auto const& network : {fast, slow, narrow}) {
    for (int const ranks : {2, 3, 16, 1000}) {
      for (double const keep : {1.0, 64.0, 4096.0, 1e6}) {
        MergeShape const shape{ranks, 256, keep, 1e9};
        auto const best = estimate_merge(choose_merge(automatic, shape, network), shape, network).seconds;
        for (auto const strategy : {owner, tree, threshold}) EXPECT_LE(best, estimate_merge(strategy, shape, network).seconds);
      }
    }
  }
}

}  // namespace
}  // namespace asymptop
