// Softmax over keys of several ranks: parts are combined into the softmax over all of them, whatever ranks hold.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "comm/merge/merge_softmax.hpp"
#include "shard/partition.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

/// The part of keys [begin, end), and the whole's output in fp64 beside it.
struct Keys {
  std::vector<float> logits, values;
  std::size_t d;

  void add_part(Range const& keys, std::vector<float>& parts) const {
    double top = -INFINITY, sum = 0.0;
    std::vector<double> output(d, 0.0);
    for (auto i = keys.begin; i < keys.end; ++i) top = std::max<double>(top, logits[static_cast<std::size_t>(i)]);
    for (auto i = keys.begin; i < keys.end; ++i) {
      auto const key = static_cast<std::size_t>(i);
      double const e = std::exp(logits[key] - top);
      sum += e;
      for (std::size_t c = 0; c < d; ++c) output[c] += e * values[key * d + c];
    }
    parts.push_back(static_cast<float>(top));
    parts.push_back(static_cast<float>(sum));
    for (auto const x : output) parts.push_back(static_cast<float>(x));
  }
};

TEST(MergeSoftmax, IsTheSoftmaxOfAllKeys) {
  Communicator const comm(MPI_COMM_WORLD);
  test::Random random(46076);  // the same numbers on all ranks
  // Fewer keys than ranks, logits near and far beyond what e^s holds.
  for (std::int64_t const keys : {1, 2, 5, 300}) {
    for (double const spread : {0.0, 4.0, 2000.0}) {
      constexpr int rows = 5;
      constexpr std::size_t d = 7;
      std::vector<float> parts;
      std::vector<int> owners;
      std::vector<std::vector<float>> whole(rows);
      for (int row = 0; row < rows; ++row) {
        auto const count = static_cast<std::size_t>(keys);
        Keys const of_row{random.normals(count, spread), random.normals(count * d), d};
        of_row.add_part(key_shard(keys, 1, comm.rank(), comm.size()), parts);
        of_row.add_part({0, keys}, whole[static_cast<std::size_t>(row)]);
      }
      for (int rank = 0; rank < comm.size(); ++rank) {
        for (auto i = owned_rows(rows, rank, comm.size()).size(); i > 0; --i) owners.push_back(rank);
      }
      auto const outputs = finish(merge_softmax(comm, parts, owners, d));
      auto const own = owned_rows(rows, comm.rank(), comm.size());
      ASSERT_EQ(outputs.size(), static_cast<std::size_t>(own.size()) * d);
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        auto const& of = whole[static_cast<std::size_t>(own.begin) + i / d];
        EXPECT_NEAR(outputs[i], of[2 + i % d] / of[1], 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace asymptop
