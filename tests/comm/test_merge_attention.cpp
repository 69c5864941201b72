// Subtrees of attention from all ranks: the owner's result has the bits of one rank's.
//
//   leaves   0 ........ n      rank r pushes its own run; maximal subtrees travel
#include <gtest/gtest.h>

#include <vector>

#include "comm/merge/merge_attention.hpp"
#include "shard/partition.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

TEST(MergeAttention, SameBitsAsOneRank) {
  Communicator const comm(MPI_COMM_WORLD);
  test::Random random(90);  // the same numbers on all ranks
  for (std::int64_t const leaves : {1, 2, 5, 64, 200}) {
    constexpr int rows = 7, columns = 16;
    std::vector<std::vector<float>> max(rows), values(rows);
    for (int row = 0; row < rows; ++row) {
      max[static_cast<std::size_t>(row)] = random.normals(static_cast<std::size_t>(leaves), 4.0);
      values[static_cast<std::size_t>(row)] = random.normals(static_cast<std::size_t>(leaves) * columns);
    }
    auto const run_over = [&](int row, Range const& range) {
      SoftmaxRun run;
      auto const r = static_cast<std::size_t>(row);
      for (auto leaf = range.begin; leaf < range.end; ++leaf)
        run.push({leaf, 0, max[r][static_cast<std::size_t>(leaf)], 1.0f}, &values[r][static_cast<std::size_t>(leaf) * columns], columns);
      return run;
    };
    std::vector<SoftmaxRun> mine;
    std::vector<int> owners;
    for (int row = 0; row < rows; ++row) mine.push_back(run_over(row, key_shard(leaves, 1, comm.rank(), comm.size())));
    for (int rank = 0; rank < comm.size(); ++rank) {
      for (auto i = owned_rows(rows, rank, comm.size()).size(); i > 0; --i) owners.push_back(rank);
    }
    auto const merged = merge_attention(
        comm, [&](int row) -> SoftmaxRun const& { return mine[static_cast<std::size_t>(row)]; }, owners, columns);
    auto const own = owned_rows(rows, comm.rank(), comm.size());
    ASSERT_EQ(static_cast<GlobalIndex>(merged.size()), own.size());
    for (std::size_t i = 0; i < merged.size(); ++i) {
      auto whole = run_over(static_cast<int>(own.begin) + static_cast<int>(i), {0, leaves});
      whole.finish(columns);
      ASSERT_EQ(merged[i].nodes().size(), 1u);
      EXPECT_EQ(merged[i].nodes()[0].max, whole.nodes()[0].max);
      EXPECT_EQ(merged[i].nodes()[0].weight, whole.nodes()[0].weight);
      for (int c = 0; c < columns; ++c) EXPECT_EQ(merged[i].values(0, columns)[c], whole.values(0, columns)[c]);
    }
  }
}

}  // namespace
}  // namespace asymptop
