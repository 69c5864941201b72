// Fused exact attention: its register tile to the bit, its tree for any split of the keys, its output against fp64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attend/fused_attention.hpp"
#include "kernels/reference/attention_row.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
using Space = Kokkos::DefaultHostExecutionSpace;

TEST(WeighPanel, EveryShapeToTheBit) {
  Random random(80);
  for (int const d : {1, 3, 4, 8, 15, 16, 17, 33, 64, 80, 129}) {
    for (int rows = 1; rows <= panel_rows; ++rows) {
      int const count = rows % 2 == 0 ? 300 : 67, columns = simd::padded_columns(d);
      auto const weights = random.normals(static_cast<std::size_t>(rows * count));
      auto const values = random.normals(static_cast<std::size_t>(count * d));
      std::vector<float> out(static_cast<std::size_t>(rows * columns), 0.5f);
      simd::weigh_panel(rows, weights.data(), count, values.data(), d, count, out.data(), columns);
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < d; ++c) {
          float expected = 0.5f;
          for (int first = 0; first < count; first += simd::weigh_keys) {
            float sum = 0.0f;
            for (int j = first; j < std::min(count, first + simd::weigh_keys); ++j)
              sum = std::fma(weights[static_cast<std::size_t>(r * count + j)], values[static_cast<std::size_t>(j * d + c)], sum);
            expected += sum;
          }
          ASSERT_EQ(out[static_cast<std::size_t>(r * columns + c)], expected) << "d " << d << " rows " << rows << " at " << r << ", " << c;
        }
      }
    }
  }
}

/// A run of leaves [first, end) of one value each, pushed one by one.
SoftmaxRun run_of_leaves(std::vector<float> const& scores, std::vector<float> const& values, std::int64_t first, std::int64_t end) {
  SoftmaxRun run;
  for (auto leaf = first; leaf < end; ++leaf)
    run.push({leaf, 0, scores[static_cast<std::size_t>(leaf)], 1.0f}, &values[static_cast<std::size_t>(leaf)], 1);
  return run;
}

TEST(SoftmaxTree, AnySplitGivesTheSameBits) {
  Random random(81);
  for (std::int64_t const leaves : {1, 2, 3, 7, 8, 64, 100, 255, 1000}) {
    auto const scores = random.normals(static_cast<std::size_t>(leaves), 5.0), values = random.normals(static_cast<std::size_t>(leaves));
    auto whole = run_of_leaves(scores, values, 0, leaves);
    whole.finish(1);
    ASSERT_EQ(whole.nodes().size(), 1u);
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<std::int64_t> cuts{0, leaves};
      for (auto i = random.integer(0, 8); i > 0; --i) cuts.push_back(random.integer(0, leaves));
      std::sort(cuts.begin(), cuts.end());
      SoftmaxRun merged;
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        auto const part = run_of_leaves(scores, values, cuts[i], cuts[i + 1]);
        ASSERT_LE(part.nodes().size(), 2 * 11u);
        for (std::size_t node = 0; node < part.nodes().size(); ++node) merged.push(part.nodes()[node], part.values(node, 1), 1);
      }
      merged.finish(1);
      ASSERT_EQ(merged.nodes()[0].max, whole.nodes()[0].max);
      ASSERT_EQ(merged.nodes()[0].weight, whole.nodes()[0].weight) << leaves;
      ASSERT_EQ(*merged.values(0, 1), *whole.values(0, 1)) << leaves;
    }
  }
}

TEST(SoftmaxTree, AnyOrderGivesTheSameBits) {
  Random random(83);
  for (std::int64_t const leaves : {1, 2, 5, 16, 63, 200}) {
    auto const scores = random.normals(static_cast<std::size_t>(leaves), 5.0), values = random.normals(static_cast<std::size_t>(leaves));
    auto whole = run_of_leaves(scores, values, 0, leaves);
    whole.finish(1);
    for (int trial = 0; trial < 20; ++trial) {
      // Shards in any order; trial 0: single leaves.
      std::vector<std::int64_t> cuts{0, leaves};
      for (auto i = trial == 0 ? leaves : random.integer(0, 8); i > 0; --i) cuts.push_back(trial == 0 ? i : random.integer(0, leaves));
      std::sort(cuts.begin(), cuts.end());
      std::vector<std::size_t> order;
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) order.push_back(i);
      std::shuffle(order.begin(), order.end(), random.engine());
      SoftmaxRun merged;
      for (auto const i : order) merged.push(run_of_leaves(scores, values, cuts[i], cuts[i + 1]), 1);
      merged.finish(1);
      ASSERT_EQ(merged.nodes().size(), 1u);
      ASSERT_EQ(merged.nodes()[0].max, whole.nodes()[0].max);
      ASSERT_EQ(merged.nodes()[0].weight, whole.nodes()[0].weight) << leaves;
      ASSERT_EQ(*merged.values(0, 1), *whole.values(0, 1)) << leaves;
    }
  }
}

TEST(SoftmaxTree, WrappedOrderHoldsFewNodes) {
  // A ring brings leaves r ... n - 1 first and then 0 ... r - 1: two runs without gaps.
  constexpr std::int64_t leaves = 1000;
  float const zero = 0.0f;
  for (std::int64_t const first : {1, 333, 512, 999}) {
    SoftmaxRun run;
    for (std::int64_t i = 0; i < leaves; ++i) {
      run.push({(first + i) % leaves, 0, 0.0f, 1.0f}, &zero, 1);
      ASSERT_LE(run.nodes().size(), 2u * 2u * 10u);
    }
    run.finish(1);
    EXPECT_EQ(run.nodes()[0].weight, static_cast<float>(leaves));
  }
}

TEST(SoftmaxTree, EmptySubtreesWeighNothing) {
  float const zero = 0.0f, value = 3.0f;
  SoftmaxRun run;
  run.push({}, &zero, 1);
  run.push({1, 0, 2.0f, 1.5f}, &value, 1);
  run.push({2, 0, -std::numeric_limits<float>::infinity(), 0.0f}, &zero, 1);
  run.finish(1);
  EXPECT_EQ(run.nodes()[0].weight, 1.5f);
  EXPECT_EQ(*run.values(0, 1), 3.0f);
}

struct Shape {
  int rows, n, d, leaf;
};

/// Outputs (rows, d) for keys added in pieces, the first piece being number `begin` and those before it coming last.
std::vector<float> attend(Shape const& s, std::vector<float> const& q, std::vector<float> const& k, std::vector<float> const& v,
                          std::vector<std::int64_t> const& limits, int threads, int piece, int begin = 0, float sigma = 1.0f) {
  std::vector<float> packed(packed_size(s.n, s.d));
  pack_keys(k.data(), s.n, s.d, packed.data());
  PackedQueries const queries(q.data(), s.rows, s.d);
  FusedAttention<Space> attention(queries, threads, s.leaf, 0, limits, sigma);
  int const pieces = (s.n + piece - 1) / piece;
  for (int i = 0; i < pieces; ++i) {
    int const first = (begin + i) % pieces * piece;
    attention.add(Space(), packed.data() + static_cast<std::ptrdiff_t>(first) * s.d, v.data() + static_cast<std::ptrdiff_t>(first) * s.d,
                  first, std::min(piece, s.n - first));
  }
  std::vector<float> out;
  for (int row = 0; row < s.rows; ++row) {
    EXPECT_EQ(attention.seen(row), limits[static_cast<std::size_t>(row)]);
    auto run = attention.run(row);
    run.finish(attention.columns());
    for (int c = 0; c < s.d; ++c) out.push_back(run.values(0, attention.columns())[c] / run.nodes()[0].weight);
  }
  return out;
}

void expect_attention(Random& random, Shape const& s, double sigma, std::string const& what) {
  auto const q = random.normals(static_cast<std::size_t>(s.rows * s.d), sigma / std::sqrt(static_cast<double>(s.d)));
  auto const k = random.normals(static_cast<std::size_t>(s.n * s.d)), v = random.normals(static_cast<std::size_t>(s.n * s.d));
  std::vector<std::int64_t> limits;
  for (int row = 0; row < s.rows; ++row) limits.push_back(row % 3 == 0 ? s.n : random.integer(1, s.n));
  auto const once = attend(s, q, k, v, limits, 1, s.n);
  for (int row = 0; row < s.rows; ++row) {
    std::vector<float> const own(q.begin() + row * s.d, q.begin() + (row + 1) * s.d);
    auto const p = reference::softmax(reference::logits(own, k, limits[static_cast<std::size_t>(row)], s.d, 1.0));
    auto const expected = reference::attention(p, v, s.d);
    // Rounding of a logit of size L is 2^-24 L, of sums of 128 terms about 2^-24 sqrt(128), relative to the size of v.
    double const tolerance = 4e-6 * (1.0 + sigma);
    for (int c = 0; c < s.d; ++c)
      ASSERT_NEAR(static_cast<double>(once[static_cast<std::size_t>(row * s.d + c)]), expected[static_cast<std::size_t>(c)], tolerance)
          << what << ", row " << row;
  }
  for (int const threads : {1, 2, 5}) {
    for (int const piece : {s.leaf, 4 * s.leaf, s.n + s.leaf}) {
      for (int const begin : {0, 1, 7}) ASSERT_EQ(attend(s, q, k, v, limits, threads, piece, begin), once) << what;
    }
  }
}

TEST(FusedAttention, AgainstFp64AndForAnySplit) {
  Random random(82);
  for (auto const& s : {Shape{1, 1, 1, 64}, Shape{1, 63, 5, 64}, Shape{13, 65, 16, 64}, Shape{3, 1000, 64, 512}, Shape{25, 700, 33, 128},
                        Shape{2, 5000, 8, 512}}) {
    for (double const sigma : {0.5, 4.0, 20.0})
      expect_attention(random, s, sigma, "n " + std::to_string(s.n) + " d " + std::to_string(s.d));
  }
}

TEST(FusedAttention, SigmaScalesTheScores) {
  Random random(84);
  Shape const s{14, 700, 24, 128};
  auto const q = random.normals(static_cast<std::size_t>(s.rows * s.d), 0.2), k = random.normals(static_cast<std::size_t>(s.n * s.d)),
             v = random.normals(static_cast<std::size_t>(s.n * s.d));
  std::vector<std::int64_t> const limits(static_cast<std::size_t>(s.rows), s.n);
  // Powers of two: queries scaled beforehand make the same scores to the bit.
  std::vector<float> scaled;
  for (float const x : q) scaled.push_back(4.0f * x);
  EXPECT_EQ(attend(s, q, k, v, limits, 2, s.n, 0, 4.0f), attend(s, scaled, k, v, limits, 2, s.n));
}

TEST(FusedAttention, EqualScoresAndCollapsedRows) {
  Shape const s{1, 600, 4, 64};
  std::vector<float> q(4, 0.0f), k(600 * 4, 1.0f), v(600 * 4, 0.25f);
  for (float const x : attend(s, q, k, v, {600}, 2, 600)) EXPECT_FLOAT_EQ(x, 0.25f);
  // One key wins by far: e^-88 and less is 0 in fp32, and nothing overflows.
  q.assign(4, 300.0f);
  std::fill(k.begin(), k.end(), -1.0f);
  std::fill(k.begin() + 4 * 333, k.begin() + 4 * 334, 1.0f);
  std::fill(v.begin() + 4 * 333, v.begin() + 4 * 334, 7.0f);
  for (float const x : attend(s, q, k, v, {600}, 2, 600)) EXPECT_EQ(x, 7.0f);
}

}  // namespace
}  // namespace asymptop
