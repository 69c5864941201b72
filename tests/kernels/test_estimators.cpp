// Weights and bounds of the estimators by themselves. Whole studies: tests/app/test_study_estimators.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/select/magicpig.hpp"
#include "kernels/select/observed.hpp"
#include "kernels/select/random_order.hpp"
#include "kernels/select/socket.hpp"
#include "kernels/select/vattention.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

TEST(RandomSelector, ForcedKeysComeFirst) {
  RandomSelector const selector({2, 3});
  for (std::int64_t const visible : {1, 2, 4, 5, 6, 40}) {
    KeyRun const seen(0, visible);
    auto const order = selector.order({seen, 9, {}}, visible);
    EXPECT_EQ(std::set<GlobalIndex>(order.begin(), order.end()).size(), static_cast<std::size_t>(visible));
    auto const forced = selector.forced().count(seen);
    EXPECT_EQ(forced, std::min<std::int64_t>(visible, 5));
    for (std::int64_t i = 0; i < visible; ++i) EXPECT_EQ(selector.forced().holds(order[static_cast<std::size_t>(i)], seen), i < forced);
  }
}

TEST(RandomSelector, WithoutForcedKeysIsThePermutation) {
  Permutation const key_at(7, 100);
  for (std::int64_t const begin : {0, 13}) {
    auto const order = RandomSelector().order({{begin, begin + 100}, 7, {}}, 30);
    for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], begin + key_at(static_cast<std::int64_t>(i)));
  }
}

TEST(SampleBound, QuantilesOfTheNormal) {
  EXPECT_NEAR(upper_normal_quantile(0.5), 0.0, 1e-12);
  EXPECT_NEAR(upper_normal_quantile(0.1), 1.2815515655446004, 1e-12);
  EXPECT_NEAR(upper_normal_quantile(0.025), 1.959963984540054, 1e-12);
  EXPECT_NEAR(upper_normal_quantile(1e-9), 5.9978070150076865, 1e-9);
}

TEST(SampleBound, StaysBetweenTheBaseAndAll) {
  SampleBound const bound{0.02, 0.1, 0.1};
  EXPECT_EQ(bound.base(0), 0);
  EXPECT_EQ(bound.base(20), 20);
  EXPECT_EQ(bound.base(1000), 32);
  EXPECT_EQ(bound.base(10001), 201);
  EXPECT_EQ(bound.count(10000, 1.0, 0.5, 0.0), 200);     // nothing varies
  EXPECT_EQ(bound.count(10000, 0.0, 0.01, 1.0), 10000);  // more than there are
  // (1.2816 * 0.3 * 10000 / (0.1 * (1000 + 5000)))^2 = 41.06: the base is larger; with a fifth of the denominator 1026.6.
  EXPECT_EQ(bound.count(10000, 1000.0, 0.5, 0.3), 200);
  EXPECT_EQ(bound.count(10000, 200.0, 0.1, 0.3), 1027);
}

TEST(SignTables, ChancesAreThoseOfTwoCollisions) {
  for (auto const& [bits, tables] : {std::pair{10, 150}, {4, 12}, {1, 2}, {16, 1000}, {3, 5}}) {
    SignTables const of(bits, tables);
    double before = -1.0;
    for (double p = 0.0; p <= 1.0; p += 1.0 / 64) {
      long double const table = std::pow(static_cast<long double>(p), bits), rest = 1.0L - table;
      long double const wanted = 1.0L - std::pow(rest, tables) - tables * table * std::pow(rest, tables - 1);
      EXPECT_NEAR(of.chance(p), static_cast<double>(wanted), 1e-9 + 1e-5 * static_cast<double>(wanted))
          << bits << ' ' << tables << ' ' << p;
      EXPECT_GE(of.chance(p), before - 1e-12);
      before = of.chance(p);
    }
  }
  EXPECT_NEAR(SignTables(10, 150).chance(1.0), 1.0, 1e-12);
}

/// The share of tables in which two vectors collide is p^K, p = 1 - angle/pi.
TEST(SignTables, CollideAsOftenAsTheirAngleSays) {
  constexpr int d = 12, bits = 3, tables = 1000;
  SignTables hash(bits, tables);
  hash.draw(tensor_stream(3, 0, 64, d, Tensor::selection), d);
  test::Random random(4);
  std::vector<std::uint16_t> a(static_cast<std::size_t>(hash.width())), b(a.size());
  for (int pair = 0; pair < 20; ++pair) {
    std::vector<float> x(d), y(d);
    double xy = 0.0, xx = 0.0, yy = 0.0;
    for (std::size_t c = 0; c < d; ++c) {
      x[c] = static_cast<float>(random.uniform(-1.0, 1.0));
      y[c] = 0.7f * x[c] + static_cast<float>(random.uniform(-1.0, 1.0));
      xy += x[c] * y[c], xx += x[c] * x[c], yy += y[c] * y[c];
    }
    hash.signature(x.data(), d, a.data());
    hash.signature(y.data(), d, b.data());
    EXPECT_EQ(hash.collisions(a.data(), a.data()), tables);
    double const p = std::pow(1.0 - std::acos(xy / std::sqrt(xx * yy)) / 3.14159265358979, bits);
    EXPECT_NEAR(hash.collisions(a.data(), b.data()), tables * p, 5.0 * std::sqrt(tables * p * (1.0 - p)));
  }
}

std::vector<float> priorities(Lookup const& lookup, KeyRun const& seen, int count, float const* table = nullptr,
                              std::uint16_t const* codes = nullptr) {
  std::vector<float> found(static_cast<std::size_t>(count));
  lookup.priorities({seen, 0, {}}, table, codes, 0, count, found.data());
  return found;
}

TEST(AttendedKeys, PoolsOverNeighboursAndZerosOutside) {
  Observers const observers{Observers::Where::last, 2};
  AttendedKeys keys(observers, 3), alone(observers, 1);
  std::vector<float> const sums{3.0f, 0.0f, 6.0f, 9.0f};
  keys.observe({sums, {}});
  alone.observe({sums, {}});
  EXPECT_EQ(priorities(keys, {0, 4}, 4), (std::vector<float>{1.0f, 3.0f, 5.0f, 5.0f}));
  EXPECT_EQ(priorities(alone, {0, 4}, 4), sums);
}

TEST(AttendedSoFar, TakesTheSumsOfTheLatestPlaceThatARowSees) {
  AttendedSoFar so_far({Observers::Where::spaced, 2, 1, false, true});
  so_far.observe({{0.0f, 5.0f, 1.0f, 6.0f}, {}, {3, 8}, 4, 2});
  for (auto const& [end, wanted] : {std::pair{3, 5.0f}, {7, 5.0f}, {8, 6.0f}, {90, 6.0f}}) {
    float out = 0.0f;
    so_far.priorities({{0, end}, 0, {}}, nullptr, nullptr, 5, 1, &out);
    EXPECT_EQ(out, wanted) << end;
  }
}

TEST(AttendedLines, TakeTheLargerLineFromTheRowsOwnPlace) {
  AttendedLines lines({Observers::Where::last, 2, 1, true});
  lines.observe({{0.0f, 5.0f, 0.0f, 1.0f}, {4.0f, 2.0f, 3.0f, 6.0f}});
  EXPECT_EQ(priorities(lines, {0, 4}, 4), (std::vector<float>{6.0f, 5.0f, 2.0f, 4.0f}));
  EXPECT_EQ(priorities(lines, {1, 3}, 3), (std::vector<float>{3.0f, 5.0f, 4.0f}));
}

TEST(AttendedBlocks, AddUpTheirRuns) {
  AttendedBlocks blocks({Observers::Where::last, 8, 4}, 8);
  blocks.observe({{1.0f, 2.0f, 3.0f, 4.0f, 5.0f}, {}});
  EXPECT_EQ(priorities(blocks, {0, 20}, 3), (std::vector<float>{3.0f, 7.0f, 5.0f}));
}

/// Over all buckets of each table a query's probabilities add up to 1, and its own bucket has the largest.
TEST(Socket, BucketsHoldTheQueryOnce) {
  constexpr int bits = 5, tables = 3, d = 8;
  SocketLookup socket(SignTables(bits, tables), 0.5);
  socket.draw({1, 2}, d);
  test::Random random(4);
  std::vector<float> q(d);
  for (auto& x : q) x = static_cast<float>(random.normal());
  auto const table = socket.table(q.data(), d);
  std::vector<std::uint16_t> own(static_cast<std::size_t>(socket.code_words()));
  socket.code(q.data(), d, own.data());
  float const best = priorities(socket, {0, 1}, 1, table.data(), own.data())[0];
  double sum = 0.0;
  for (std::uint16_t bucket = 0; bucket < 1 << bits; ++bucket) {
    std::vector<std::uint16_t> const code(own.size(), bucket);
    float const priority = priorities(socket, {0, 1}, 1, table.data(), code.data())[0];
    EXPECT_LE(priority, best * (1.0f + 1e-6f));
    sum += priority;
  }
  EXPECT_NEAR(sum, tables, 1e-5);
}

}  // namespace
}  // namespace asymptop
