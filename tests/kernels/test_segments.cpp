// The second pass: head and tail sums at every boundary against the references, and the same bits for any step, shard or space.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attend/audit.hpp"
#include "kernels/attend/segments.hpp"
#include "kernels/reference/attention_row.hpp"
#include "support/attention_problem.hpp"

namespace asymptop {
namespace {

using test::AttentionProblem;
using test::Entries;
using test::Random;

/// Boundaries of all rows on the host, as the rows' owners make them.
struct Cuts {
  std::vector<std::vector<std::int64_t>> ranks;  ///< per row: k of each boundary in use
  std::vector<float> score, reference;
  std::vector<GlobalIndex> index;
  std::vector<int> used;
};

Cuts cut(AttentionProblem const& problem, std::vector<std::int64_t> const& ks) {
  Cuts cuts;
  for (int row = 0; row < problem.rows; ++row) {
    auto const seen = problem.seen(row);
    auto const by_rank = reference::order(seen);
    auto const at = [&](std::int64_t rank) {
      return static_cast<float>(seen[static_cast<std::size_t>(by_rank[static_cast<std::size_t>(rank)])]);
    };
    std::vector<std::int64_t> ranks;
    for (auto const k : ks) {
      auto const end = std::min<std::int64_t>(k, static_cast<std::int64_t>(seen.size()));
      if (ranks.empty() || ranks.back() != end) ranks.push_back(end);
    }
    for (std::size_t g = 0; g < ks.size(); ++g) {
      auto const end = ranks[std::min(g, ranks.size() - 1)];
      cuts.score.push_back(at(end - 1));
      cuts.index.push_back(by_rank[static_cast<std::size_t>(end - 1)]);
    }
    for (std::size_t g = 0; g <= ks.size(); ++g)
      cuts.reference.push_back(g < ranks.size() ? at(g == 0 ? 0 : ranks[g - 1]) : at(ranks.back() - 1));
    cuts.used.push_back(static_cast<int>(ranks.size()));
    cuts.ranks.push_back(ranks);
  }
  return cuts;
}

template <class Space>
Segments<Space> segments_of(Cuts const& cuts) {
  auto const rows = cuts.used.size();
  return {test::matrix_of<Space>(cuts.score, rows), test::matrix_of<Space>(cuts.index, rows), test::matrix_of<Space>(cuts.reference, rows),
          test::vector_of<Space>(cuts.used)};
}

struct Sums {
  std::vector<std::int64_t> attention, audit;
  std::vector<double> worst;
  bool operator==(Sums const&) const = default;
};

/// Both second-pass kernels over keys [begin, end), `step` keys at a time, added to sums that may already hold other shards.
template <class Space>
Sums second_pass(AttentionProblem const& problem, Cuts const& cuts, int begin, int end, int step, double sigma, FixedPoint const& factor,
                 Sums const& before = {}) {
  Space const space;
  auto const rows = static_cast<std::size_t>(problem.rows), d = static_cast<std::size_t>(problem.d),
             segments = cuts.score.size() / rows + 1;
  auto const segment_views = segments_of<Space>(cuts);
  Tensor3<Space, std::int64_t> const sums("Asymptop::test::sums", rows, segments, d + 1);
  Kokkos::View<std::int64_t****, Kokkos::LayoutRight, typename Space::memory_space> const audit("Asymptop::test::audit", rows, 1, segments,
                                                                                                4);
  std::vector<std::int64_t> limits;
  std::vector<int> all_rows;
  for (int i = 0; i < problem.rows; ++i) {
    limits.push_back(std::clamp<std::int64_t>(problem.visible[static_cast<std::size_t>(i)] - begin, 0, end - begin));
    all_rows.push_back(i);
  }
  auto const limit = test::vector_of<Space>(limits);
  Matrix<Space, float> const weights("Asymptop::test::weights", rows, static_cast<std::size_t>(step)),
      scores("Asymptop::test::scores", rows, static_cast<std::size_t>(step));
  Tensor3<Space, float> const products("Asymptop::test::products", static_cast<std::size_t>(step / problem.tile), rows, d);
  Vector<Space, double> const worst("Asymptop::test::worst", rows);
  auto const queries = test::matrix_of<Space>(problem.queries, rows);
  std::vector<double> const queries64(problem.queries.begin(), problem.queries.end());
  auto const audit_queries = test::matrix_of<Space>(queries64, rows);
  for (int first = begin; first < end; first += step) {
    int const count = std::min(step, end - first), padded = (count + problem.tile - 1) / problem.tile * problem.tile;
    auto const keys = test::matrix_of<Space>(problem.padded(problem.keys, first, count, padded), static_cast<std::size_t>(padded));
    auto const values = test::matrix_of<Space>(problem.padded(problem.values, first, count, padded), static_cast<std::size_t>(padded));
    score_tiles(space, queries, keys, scores, padded, problem.tile);
    auto const local = static_cast<LocalIndex>(first - begin);
    add_tile_fp64(space, test::vector_of<Space>(all_rows), audit_queries, segment_views, test::vector_of<Space>(all_rows), scores,
                  KeyTile{keys.data(), problem.d, false}, limit, {0, problem.rows, local, count}, begin,
                  test::vector_of<Space>(std::vector<double>{sigma}), factor.weight, audit, worst);
    add_head_and_weigh_tail(space, segment_views, scores, values, limit, {0, problem.rows, local, padded}, begin, static_cast<float>(sigma),
                            factor, weights, sums);
    weigh_values(space, weights, values, products, padded, problem.tile);
    add_tail(space, weights, products, problem.rows, padded, problem.tile, segment_views.used, factor, sums);
    space.fence();
  }
  Sums result{test::values_of(sums), test::values_of(audit), test::values_of(worst)};
  for (std::size_t i = 0; i < before.attention.size(); ++i) result.attention[i] += before.attention[i];
  for (std::size_t i = 0; i < before.audit.size(); ++i) result.audit[i] += before.audit[i];
  for (std::size_t i = 0; i < before.worst.size(); ++i) result.worst[i] = std::max(result.worst[i], before.worst[i]);
  return result;
}

double largest(std::vector<float> const& values) {
  double most = 0.0;
  for (float const v : values) most = std::max(most, std::fabs(static_cast<double>(v)));
  return most;
}

/// Top-k attention at every boundary and exact attention, from the sums, against the references on the same fp32 scores.
void expect_attention(AttentionProblem const& problem, Cuts const& cuts, Sums const& sums, double sigma, FixedPoint const& factor,
                      std::string const& what) {
  auto const d = static_cast<std::size_t>(problem.d), segments = cuts.score.size() / cuts.used.size() + 1;
  for (std::size_t row = 0; row < cuts.used.size(); ++row) {
    auto logits = problem.seen(static_cast<int>(row));
    auto const by_rank = reference::order(logits);
    double const top = logits[static_cast<std::size_t>(by_rank.front())], bottom = logits[static_cast<std::size_t>(by_rank.back())];
    for (auto& s : logits) s *= sigma;
    auto const p = reference::softmax(logits);
    std::vector<double> head(d + 1, 0.0);
    auto const used = static_cast<std::size_t>(cuts.used[row]);
    for (std::size_t g = 0; g <= used; ++g) {
      double const weight = std::exp(sigma * (static_cast<double>(cuts.reference[row * segments + g]) - top));
      for (std::size_t c = 0; c <= d; ++c) {
        head[c] +=
            weight * static_cast<double>(sums.attention[(row * segments + g) * (d + 1) + c]) / (c == d ? factor.weight : factor.value);
      }
      auto const k = g < used ? cuts.ranks[row][g] : static_cast<std::int64_t>(p.size());
      auto const p_hat = reference::top_k_softmax(p, by_rank, k);
      auto const expected = reference::attention(p_hat, problem.values, problem.d);
      // Weights err by exp_fp32's 2e-7 and by the rounding of sigma (s - reference); sums of one BLAS tile by gamma_tile.
      double const u = std::ldexp(1.0, -24);
      double const relative = 2.0 * (2e-7 + 3.0 * u * sigma * (top - bottom)) + static_cast<double>(problem.tile + 2) * u;
      for (std::size_t c = 0; c < d; ++c) {
        double absolute = 0.0;
        for (std::size_t j = 0; j < p.size(); ++j) absolute += p_hat[j] * std::fabs(static_cast<double>(problem.values[j * d + c]));
        ASSERT_NEAR(head[c] / head[d], expected[c], relative * absolute + 1e-12)
            << what << ", row " << row << ", k " << k << ", column " << c;
      }
    }
    for (std::size_t g = used + 1; g < segments; ++g) {
      for (std::size_t c = 0; c <= d; ++c)
        ASSERT_EQ(sums.attention[(row * segments + g) * (d + 1) + c], 0) << what << ", unused segment " << g;
    }
  }
}

/// Segment sums of the audit against fp64 sums over the same subsets.
void expect_audit(AttentionProblem const& problem, Cuts const& cuts, Sums const& sums, double sigma, FixedPoint const& factor,
                  std::string const& what) {
  auto const segments = cuts.score.size() / cuts.used.size() + 1;
  for (std::size_t row = 0; row < cuts.used.size(); ++row) {
    auto const width = static_cast<std::ptrdiff_t>(problem.d);
    auto const q = std::vector<float>(problem.queries.begin() + static_cast<std::ptrdiff_t>(row) * width,
                                      problem.queries.begin() + static_cast<std::ptrdiff_t>(row + 1) * width);
    auto const scores = reference::logits(q, problem.keys, problem.visible[row], problem.d, 1.0);
    auto const fp32 = problem.seen(static_cast<int>(row));
    auto const by_rank = reference::order(fp32);
    std::vector<double> expected(segments * 4, 0.0);
    double worst = 0.0, q2 = 0.0;
    for (float const x : q) q2 += static_cast<double>(x) * static_cast<double>(x);
    for (std::size_t rank = 0; rank < by_rank.size(); ++rank) {
      auto const j = static_cast<std::size_t>(by_rank[rank]);
      auto const g = static_cast<std::size_t>(
          std::upper_bound(cuts.ranks[row].begin(), cuts.ranks[row].end(), static_cast<std::int64_t>(rank)) - cuts.ranks[row].begin());
      double const y = sigma * (scores[j] - static_cast<double>(cuts.reference[row * segments + g]));
      expected[g * 4] += std::exp(y);
      expected[g * 4 + 1] += std::exp(2.0 * y);
      expected[g * 4 + 2] += y * std::exp(y);
      expected[g * 4 + 3] += 1.0;
      double k2 = 0.0;
      for (std::size_t c = 0; c < q.size(); ++c)
        k2 += static_cast<double>(problem.keys[j * q.size() + c]) * static_cast<double>(problem.keys[j * q.size() + c]);
      if (q2 * k2 > 0.0) worst = std::max(worst, std::fabs(scores[j] - fp32[j]) / std::sqrt(q2 * k2));
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      double const value = static_cast<double>(sums.audit[row * segments * 4 + i]) / (i % 4 == 3 ? 1.0 : factor.weight);
      ASSERT_NEAR(value, expected[i], i % 4 == 3 ? 0.0 : 1e-12 * static_cast<double>(problem.n))
          << what << ", row " << row << ", segment " << i / 4 << ", sum " << i % 4;
    }
    ASSERT_NEAR(sums.worst[row], worst, 1e-12 + 1e-6 * worst) << what << ", row " << row;
  }
}

template <class Space>
class SecondPassKernels : public ::testing::Test {};
TYPED_TEST_SUITE(SecondPassKernels, test::Spaces);

void run_case(Random& random, int n, int d, int tile, Entries entries, double sigma, bool causal, std::string const& what, auto space_tag) {
  using Space = decltype(space_tag);
  auto problem = test::make_problem<Space>(random, 7, n, d, tile, entries);
  if (causal) {
    for (auto& visible : problem.visible) visible = random.integer(1, n);
    problem.visible[0] = 1;
  }
  auto const cuts = cut(problem, {1, 2, 3, 7, 16, 64, 65, 200});
  auto const factor = FixedPoint::make(n, largest(problem.values));
  auto const name = what + ", n " + std::to_string(n) + ", d " + std::to_string(d) + ", tile " + std::to_string(tile) + ", sigma " +
                    std::to_string(sigma);
  auto const once = second_pass<Space>(problem, cuts, 0, n, tile, sigma, factor);
  expect_attention(problem, cuts, once, sigma, factor, name);
  expect_audit(problem, cuts, once, sigma, factor, name);
  for (int const tiles : {2, 3, 8})
    EXPECT_EQ(second_pass<Space>(problem, cuts, 0, n, tiles * tile, sigma, factor), once) << name << ", step " << tiles;
  // A device's BLAS and compiler round on their own terms.
  if (is_host_space<Space>) {
    EXPECT_EQ(second_pass<Kokkos::Serial>(problem, cuts, 0, n, 4 * tile, sigma, factor), once) << name << ", serial";
  }
  // Shards of whole tiles: the sums of their sums.
  int const edge = n / tile / 2 * tile;
  if (edge == 0) return;
  auto const left = second_pass<Space>(problem, cuts, 0, edge, 2 * tile, sigma, factor);
  EXPECT_EQ(second_pass<Space>(problem, cuts, edge, n, tile, sigma, factor, left), once) << name << ", two shards";
}

TYPED_TEST(SecondPassKernels, AttentionAndAudit) {
  Random random(60);
  for (double const sigma : {0.5, 2.0, 8.0}) {
    for (int const d : {1, 5, 64}) run_case(random, 1000, d, 64, Entries::normal, sigma, false, "normal", TypeParam());
    run_case(random, 1500, 33, 256, Entries::normal, sigma, true, "causal", TypeParam());
  }
}

TYPED_TEST(SecondPassKernels, TiesAcrossBoundaries) {
  Random random(61);
  for (int const d : {1, 3, 8}) {
    run_case(random, 700, d, 64, Entries::small_integers, 0.7, false, "ties", TypeParam());
    run_case(random, 700, d, 64, Entries::small_integers, 0.7, true, "ties, causal", TypeParam());
  }
}

TYPED_TEST(SecondPassKernels, FewKeys) {
  Random random(62);
  for (int const n : {1, 2, 3, 63, 64, 65}) run_case(random, n, 4, 64, Entries::normal, 1.0, n > 1, "few keys", TypeParam());
}

/// Equal scores: each segment's weight is its number of keys, and nothing is rounded.
TYPED_TEST(SecondPassKernels, EqualScoresCountExactly) {
  Random random(63);
  auto problem = test::make_problem<TypeParam>(random, 2, 500, 3, 64, Entries::normal);
  std::fill(problem.queries.begin(), problem.queries.end(), 0.0f);
  std::fill(problem.scores.begin(), problem.scores.end(), 0.0f);
  problem.visible[1] = 100;
  auto const cuts = cut(problem, {1, 10, 65, 300});
  auto const factor = FixedPoint::make(500, largest(problem.values));
  auto const sums = second_pass<TypeParam>(problem, cuts, 0, 500, 128, 3.0, factor);
  std::vector<std::int64_t> counts;
  for (std::size_t i = 3; i < sums.attention.size(); i += 4)
    counts.push_back(std::llround(static_cast<double>(sums.attention[i]) / factor.weight));
  EXPECT_EQ(counts, (std::vector<std::int64_t>{1, 9, 55, 235, 200, 1, 9, 55, 35, 0}));
}

TEST(FixedPoint, SumsOfTheLargestTermsFit) {
  for (GlobalIndex const n : {GlobalIndex{1}, GlobalIndex{2}, GlobalIndex{1000}, GlobalIndex{1} << 20, (GlobalIndex{1} << 40) + 1}) {
    for (double const v : {1e-12, 0.3, 1.0, 6.8, 12345.0}) {
      auto const factor = FixedPoint::make(n, v);
      EXPECT_LT(static_cast<double>(n) * factor.weight, std::ldexp(1.0, 62));
      EXPECT_LT(static_cast<double>(n) * v * factor.value, std::ldexp(1.0, 62));
    }
  }
  EXPECT_EQ(to_fixed(0.5, 4.0), 2);
  EXPECT_EQ(to_fixed(-0.5, 4.0), -2);
  EXPECT_EQ(to_fixed(0.3, 4.0), 1);
  EXPECT_EQ(to_fixed(0.9, 2.0), 2);
  EXPECT_EQ(to_fixed(-0.9, 2.0), -2);
  EXPECT_EQ(to_fixed(-0.7, 2.0), -1);
}

TEST(SegmentOf, CountsBoundariesStrictlyBefore) {
  float const scores[] = {3.0f, 2.0f, 2.0f, 1.0f};
  GlobalIndex const indices[] = {5, 1, 4, 9};
  EXPECT_EQ(segment_of(4.0f, 100, scores, indices, 4), 0);
  EXPECT_EQ(segment_of(3.0f, 5, scores, indices, 4), 0);  // the boundary itself is the last of its segment
  EXPECT_EQ(segment_of(3.0f, 6, scores, indices, 4), 1);
  EXPECT_EQ(segment_of(2.0f, 1, scores, indices, 4), 1);
  EXPECT_EQ(segment_of(2.0f, 2, scores, indices, 4), 2);
  EXPECT_EQ(segment_of(2.0f, 5, scores, indices, 4), 3);
  EXPECT_EQ(segment_of(1.0f, 9, scores, indices, 4), 3);
  EXPECT_EQ(segment_of(1.0f, 10, scores, indices, 4), 4);
  EXPECT_EQ(segment_of(-9.0f, 0, scores, indices, 4), 4);
}

}  // namespace
}  // namespace asymptop
