// The first pass over a shard, tile by tile, against a sort of all scores: the exact set of candidates in the total order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/profile/profile_top_k.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop {
namespace {

using test::Random;
using Rows = std::vector<std::vector<float>>;

struct PassResult {
  std::vector<std::vector<PackedCandidate>> kept;  ///< per row, best first
  std::vector<std::vector<std::int64_t>> counts;   ///< per row and bin
};

/// The pass as a study makes it. What lies past a tile's keys would be the best of all scores, were it used.
template <class Space>
PassResult run_pass(Rows const& rows, KeyRanges const& ranges, BinGrid grid, int first_bin, int keep, int tile) {
  Space const space;
  int const n = static_cast<int>(rows[0].size()), count = static_cast<int>(rows.size());
  ProfileTopK<Space> state(space, grid, test::vector_of<Space>(std::vector<int>(rows.size(), first_bin)), keep, tile);
  KeyRangesView<Space> const seen{test::vector_of<Space>(ranges.limit), test::vector_of<Space>(ranges.from)};
  for (int first = 0; first < n; first += tile) {
    int const keys = std::min(tile, n - first), padded = (keys + 63) / 64 * 64;
    std::vector<float> scores;
    for (auto const& row : rows) {
      scores.insert(scores.end(), row.begin() + first, row.begin() + first + keys);
      scores.insert(scores.end(), static_cast<std::size_t>(padded - keys), 1e5f);
    }
    prune(space, state.candidates, tile);
    if (state.since_flush + keys > packed_limit) flush(space, state);
    state.since_flush += keys;
    add_tile(space, state, test::matrix_of<Space>(scores, rows.size()), seen, {0, count, static_cast<LocalIndex>(first), keys});
    space.fence();
  }
  flush(space, state);
  prune(space, state.candidates, static_cast<int>(state.candidates.entries.extent(1)));
  space.fence();
  auto const entries = test::host_copy(state.candidates.entries);
  auto const fill = test::host_copy(state.candidates.fill);
  auto const moments = test::host_copy(state.moments);
  PassResult result;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    result.kept.emplace_back(&entries(i, 0), &entries(i, 0) + fill(i));
    std::sort(result.kept.back().begin(), result.kept.back().end(), std::greater<>());
    result.counts.emplace_back();
    for (int b = 0; b < grid.count; ++b) result.counts.back().push_back(moments(i, b, 0));
  }
  return result;
}

std::vector<Candidate> brute_force(std::vector<float> const& scores, std::int64_t from, std::int64_t limit, int keep) {
  std::vector<Candidate> all;
  for (std::int64_t j = from; j < limit; ++j) all.push_back({scores[static_cast<std::size_t>(j)], j});
  std::sort(all.begin(), all.end(), before);
  all.resize(std::min(all.size(), static_cast<std::size_t>(keep)));
  return all;
}

template <class Space>
void expect_exact(Rows const& rows, KeyRanges const& ranges, int keep, int tile, std::string const& what) {
  constexpr int first_bin = -320;
  BinGrid const grid{32.0f, 641};
  auto const result = run_pass<Space>(rows, ranges, grid, first_bin, keep, tile);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto const expected = brute_force(rows[i], ranges.first(i), ranges.limit[i], keep);
    auto const& kept = result.kept[i];
    auto const where = what + ", row " + std::to_string(i) + ", keep " + std::to_string(keep) + ", tile " + std::to_string(tile);
    ASSERT_EQ(kept.size(), expected.size()) << where;
    for (std::size_t j = 0; j < kept.size(); ++j) {
      ASSERT_EQ(score_of(kept[j]), expected[j].score) << where << ", candidate " << j;
      ASSERT_EQ(static_cast<GlobalIndex>(index_of(kept[j])), expected[j].index) << where << ", candidate " << j;
    }
    std::vector<std::int64_t> counts(static_cast<std::size_t>(grid.count), 0);
    for (std::int64_t j = ranges.first(i); j < ranges.limit[i]; ++j) {
      double const number = std::nearbyint(static_cast<double>(rows[i][static_cast<std::size_t>(j)]) * 32.0) - first_bin;
      ++counts[static_cast<std::size_t>(std::clamp(number, 0.0, 640.0))];
    }
    ASSERT_EQ(result.counts[i], counts) << where;
  }
}

/// Rows of n scores, each an adversary of its own.
Rows adversarial_rows(std::size_t n, Random& random) {
  auto const make = [n](auto const& f) {
    std::vector<float> row;
    for (std::size_t j = 0; j < n; ++j) row.push_back(f(j));
    return row;
  };
  float const size = static_cast<float>(n);
  auto const at = [](std::size_t j) { return static_cast<float>(j); };
  return {
      make([&](std::size_t) { return static_cast<float>(random.normal()); }),
      make([](std::size_t) { return 0.75f; }),                                                   // all equal
      make([&](std::size_t j) { return at(j) / size * 8.0f - 4.0f; }),                           // ascending: every key enters
      make([&](std::size_t j) { return 4.0f - at(j) / size * 8.0f; }),                           // descending
      make([&](std::size_t j) { return at(j % 97) * 0.05f + at(j) / size * 1e-3f; }),            // sawtooth that climbs
      make([](std::size_t j) { return j % 2 == 0 ? 0.0f : -0.0f; }),                             // zeros of both signs
      make([&](std::size_t) { return static_cast<float>(random.integer(0, 2)) - 1.0f; }),        // few values, many ties
      make([&](std::size_t) { return static_cast<float>(std::ldexp(random.normal(), -130)); }),  // subnormal
      make([&](std::size_t j) { return at(j) < size - 3.0f ? -9.0f : 9.0f; }),                   // the best come last
      make(
          [&](std::size_t j) { return bit_cast<float>(bit_cast<std::uint32_t>(1.0f) + static_cast<std::uint32_t>(j % 5)); }),  // neighbours
      make([](std::size_t j) { return (j % 7 == 0 ? 9.9f : -9.9f) + 1e-6f * static_cast<float>(j % 3); }),
  };
}

template <class Space>
class ProfileTopKPass : public ::testing::Test {};
TYPED_TEST_SUITE(ProfileTopKPass, test::Spaces);

TYPED_TEST(ProfileTopKPass, AdversarialRows) {
  Random random(40);
  for (std::size_t const n : {1, 2, 63, 64, 65, 1000, 5003}) {
    auto const rows = adversarial_rows(n, random);
    std::vector<std::int64_t> const limits(rows.size(), static_cast<std::int64_t>(n));
    auto const size = static_cast<int>(n);
    for (int const keep : {1, 2, 64, size / 2 + 1, size, size + 5}) {
      for (int const tile : {64, 256, 4096}) expect_exact<TypeParam>(rows, limits, keep, tile, "n " + std::to_string(n));
    }
  }
}

TYPED_TEST(ProfileTopKPass, ManyPrunes) {
  // Capacity is keep + 1024 + a tile: with 40000 keys in ascending order the buffer fills some 35 times.
  Random random(41);
  auto const rows = adversarial_rows(40000, random);
  std::vector<std::int64_t> const limits(rows.size(), 40000);
  for (int const keep : {1, 100, 3000}) {
    for (int const tile : {64, 1024}) expect_exact<TypeParam>(rows, limits, keep, tile, "many prunes");
  }
}

TYPED_TEST(ProfileTopKPass, CausalLimits) {
  Random random(42);
  std::vector<std::int64_t> const limits{0, 1, 63, 64, 65, 127, 128, 500, 999, 1000, 1001};
  auto const rows = adversarial_rows(1001, random);
  ASSERT_EQ(rows.size(), limits.size());
  for (int shift = 0; shift < 11; shift += 3) {
    auto turned = limits;
    std::rotate(turned.begin(), turned.begin() + shift, turned.end());
    for (int const keep : {1, 70, 2000}) {
      for (int const tile : {64, 512}) expect_exact<TypeParam>(rows, turned, keep, tile, "causal");
    }
  }
}

TYPED_TEST(ProfileTopKPass, Windows) {
  Random random(46);
  std::vector<std::int64_t> const limits{0, 1, 63, 64, 65, 127, 128, 500, 999, 1000, 1001},
      from{0, 0, 62, 64, 1, 100, 64, 600, 998, 17, 511};
  auto const rows = adversarial_rows(1001, random);
  ASSERT_EQ(rows.size(), limits.size());
  for (int const keep : {1, 70, 2000}) {
    for (int const tile : {64, 512}) {
      expect_exact<TypeParam>(rows, {limits, from}, keep, tile, "windows");
      expect_exact<TypeParam>(rows, {std::vector<std::int64_t>(11, 1001), from}, keep, tile, "without the first keys");
    }
  }
}

TYPED_TEST(ProfileTopKPass, HugeScoresAreKeptThoughOutsideTheBins) {
  Random random(43);
  Rows rows(1);
  for (int j = 0; j < 3000; ++j) rows[0].push_back(static_cast<float>(random.normal() * 1e5));
  expect_exact<TypeParam>(rows, KeyRanges({3000}), 77, 128, "huge");
}

TYPED_TEST(ProfileTopKPass, RandomShapes) {
  Random random(44);
  for (int trial = 0; trial < 60; ++trial) {
    auto const n = random.integer(1, 3000);
    int const keep = static_cast<int>(random.integer(1, n + 3)), tile = 64 * static_cast<int>(random.integer(1, 20));
    int const values = static_cast<int>(random.integer(1, 200));
    Rows rows(3);
    std::vector<std::int64_t> limits;
    for (auto& row : rows) {
      for (std::int64_t j = 0; j < n; ++j) row.push_back(static_cast<float>(random.integer(-values, values)) * 0.01f);
      limits.push_back(random.integer(0, n));
    }
    expect_exact<TypeParam>(rows, limits, keep, tile, "trial " + std::to_string(trial) + ", n " + std::to_string(n));
  }
}

/// A panel of a larger batch: tile rows are batch rows first_row and on.
TYPED_TEST(ProfileTopKPass, PanelOfABatch) {
  using Space = TypeParam;
  Space const space;
  Random random(45);
  ProfileTopK<Space> state(space, {32.0f, 641}, test::vector_of<Space>(std::vector<int>(5, -320)), 3, 64);
  auto const limit = test::vector_of<Space>(std::vector<std::int64_t>{64, 64, 64, 10, 64});
  auto const scores = random.normals(128);
  add_tile(space, state, test::matrix_of<Space>(scores, 2), limit, {2, 2, 0, 64});
  space.fence();
  flush(space, state);
  space.fence();
  auto const moments = test::host_copy(state.moments);
  std::vector<std::int64_t> seen(5, 0);
  for (std::size_t i = 0; i < 5; ++i) {
    for (int b = 0; b < 641; ++b) seen[i] += moments(i, b, 0);
  }
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 0, 64, 10, 0}));
  EXPECT_EQ(test::values_of(state.candidates.fill), (std::vector<int>{0, 0, 64, 10, 0}));
}

}  // namespace
}  // namespace asymptop
