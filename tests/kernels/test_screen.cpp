// Top-k screened in 8 bits at one vector width: heads are those of the fp32 pass to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/profile/fused_first_pass.hpp"
#include "kernels/topk/screened_pass.hpp"
#include "support/random.hpp"
#include "support/screen_problem.hpp"

namespace asymptop {
namespace {

using test::adversaries;
using test::Problem;
using test::Random;
using test::Screen;
using Space = Kokkos::DefaultHostExecutionSpace;

std::vector<std::vector<PackedCandidate>> fp32_heads(Problem const& p, std::vector<std::int64_t> const& limits, int keep) {
  PackedQueries const queries(p.q.data(), p.rows, p.d);
  Vector<Space, int> const first_bin("Asymptop::test::first_bin", static_cast<std::size_t>(p.rows));
  FusedFirstPass<Space> pass(queries, {keep, false, {}, 2}, first_bin, limits);
  auto const packed = p.packed();
  pass.add(Space(), packed.data(), 0, p.n);
  std::vector<std::vector<PackedCandidate>> heads;
  std::vector<PackedCandidate> spare;
  for (int i = 0; i < p.rows; ++i) heads.push_back(pass.head(i, spare));
  return heads;
}

struct Run {
  int keep, threads, piece;
  int sample = 0;  ///< thresholds are guessed from that many keys
  float shrink = 1.0f;
};

/// Rows whose head from a screened pass is not the one of the fp32 pass.
int wrong_rows(Problem const& p, std::vector<std::int64_t> const& limits, Run const& run) {
  Screen screen(p, simd::screen_layout());
  for (auto& bound : screen.bounds) {
    bound.residual *= run.shrink;
    bound.norm *= run.shrink;
  }
  ScreenedPass<Space> pass(screen.queries, run.keep, run.threads, limits);
  if (run.sample > 0) pass.guess_thresholds(Space(), screen.packed.data(), run.sample, p.n, p.n);
  for (int first = 0; first < p.n; first += run.piece)
    pass.add(Space(), screen.packed.data() + static_cast<std::ptrdiff_t>(first) * p.d, screen.keys().from(first / key_group, p.d),
             static_cast<LocalIndex>(first), std::min(run.piece, p.n - first));
  auto const expected = fp32_heads(p, limits, run.keep);
  auto const short_rows = pass.short_rows(p.n);
  EXPECT_TRUE(run.sample > 0 || short_rows.empty());
  std::vector<PackedCandidate> spare;
  int wrong = 0;
  for (int i = 0; i < p.rows; ++i) {
    bool const is_short = std::find(short_rows.begin(), short_rows.end(), i) != short_rows.end();
    wrong += !is_short && pass.head(i, spare) != expected[static_cast<std::size_t>(i)] ? 1 : 0;
  }
  return wrong;
}

std::vector<std::int64_t> all_of(Problem const& p) { return std::vector<std::int64_t>(static_cast<std::size_t>(p.rows), p.n); }

TEST(ScreenedPass, HeadsOfAdversariesAreThoseOfTheFp32Pass) {
  Random random(85);
  for (int const n : {1, 33, 1500, 2501}) {
    for (int const d : {1, 6, 64}) {
      for (auto const& p : adversaries(random, 14, n, d)) {
        for (int const keep : {1, 40, 2000, n + 7})
          EXPECT_EQ(wrong_rows(p, all_of(p), {keep, 1, 2048}), 0) << p.name << ", n " << n << ", d " << d << ", keep " << keep;
      }
    }
  }
}

TEST(ScreenedPass, EveryDimensionAndPanelHeight) {
  Random random(86);
  for (int d = 1; d <= 200; d += d < 20 ? 1 : 13) {
    Problem const p("normal", random, 1 + d % 27, 2000, d);
    EXPECT_EQ(wrong_rows(p, all_of(p), {10, 1, 1024}), 0) << "d " << d;
  }
  for (int rows = 1; rows <= 40; ++rows) {
    Problem const p("normal", random, rows, 1500, 9);
    EXPECT_EQ(wrong_rows(p, all_of(p), {20, 2, 4096}), 0) << "rows " << rows;
  }
}

TEST(ScreenedPass, ThreadsAndPiecesChangeNothing) {
  Random random(87);
  for (auto const& p : adversaries(random, 30, 3000, 16)) {
    for (int const threads : {1, 3, 4}) {
      for (int const piece : {96, 1056, 8192}) EXPECT_EQ(wrong_rows(p, all_of(p), {25, threads, piece}), 0) << p.name;
    }
  }
}

TEST(ScreenedPass, CausalLimits) {
  Random random(88);
  for (auto const& p : adversaries(random, 14, 3000, 8)) {
    std::vector<std::int64_t> const limits{0, 1, 15, 31, 32, 33, 511, 512, 513, 1025, 1999, 2999, 3000, 600};
    for (int const keep : {1, 30, 800}) {
      for (int const threads : {1, 4}) EXPECT_EQ(wrong_rows(p, limits, {keep, threads, 1024}), 0) << p.name << ", keep " << keep;
    }
  }
}

TEST(ScreenedPass, ASampleSparesCandidatesAndLeavesNoRowShort) {
  Random random(89);
  Problem const p("normal", random, 30, 60000, 8);
  Screen screen(p, simd::screen_layout());
  ScreenedPass<Space> pass(screen.queries, 2000, 2, all_of(p));
  EXPECT_EQ(pass.threshold(0), -std::numeric_limits<float>::infinity());
  pass.guess_thresholds(Space(), screen.packed.data(), 6144, p.n, p.n);
  auto const scored = fp32_heads(p, all_of(p), p.n);
  for (int row = 0; row < p.rows; ++row) {
    // The 290th largest of 6144, where 205 of the best 2000 are expected: 2834 of all.
    auto const taken = std::count_if(scored[row].begin(), scored[row].end(), [&](auto c) { return score_of(c) > pass.threshold(row); });
    EXPECT_GE(taken, 2000) << row;
    EXPECT_LE(taken, 3700) << row;
  }
  pass.add(Space(), screen.packed.data(), screen.keys(), 0, p.n);
  EXPECT_TRUE(pass.short_rows(p.n).empty());
}

TEST(ScreenedPass, TiesAcrossTheLastPlace) {
  // Scores take few values, so that every threshold is one of many equal scores, of which the first are wanted.
  Random random(89);
  Problem p("ties", random, 13, 20000, 3);
  for (auto& x : p.q) x = std::copysign(1.0f, x);
  for (auto& x : p.k) x = static_cast<float>(random.integer(-3, 3));
  for (int const keep : {1, 16, 100, 1000, 5000}) EXPECT_EQ(wrong_rows(p, all_of(p), {keep, 2, 4096}), 0) << "keep " << keep;
}

TEST(ScreenedPass, GuessedThresholdsChangeNothing) {
  Random random(90);
  for (auto const& p : adversaries(random, 13, 30000, 8)) {
    for (int const keep : {100, 5000}) EXPECT_EQ(wrong_rows(p, all_of(p), {keep, 2, 8192, 8192}), 0) << p.name << ", keep " << keep;
  }
}

TEST(ScreenedPass, ATenthOfTheBoundLosesKeys) {
  // The last key beats the best of all others by less than what rounding to 8 bits does to a score; in few dimensions that is not much
  // less than the bound.
  Random random(91);
  Problem p("the last is best", random, 30, score_strip + 1, 3);
  for (auto& x : p.q) x = std::fabs(x);
  for (int c = 0; c < p.d; ++c) {
    float const best = std::fabs(p.key(0, c));
    for (int j = 1; j < p.n; ++j) p.key(j, c) = 0.0f;
    p.key(0, c) = best;
    p.key(p.n - 1, c) = best * (1.0f + 0x1p-20f);
  }
  EXPECT_EQ(wrong_rows(p, all_of(p), {1, 1, 8192}), 0);
  EXPECT_GT(wrong_rows(p, all_of(p), {1, 1, 8192, 0, 0.1f}), 0);
}

TEST(ScreenedPass, RefusesMoreColumnsThanItCanSum) {
  PackedQueries const queries(std::vector<float>(quantised_max_d + 1, 1.0f).data(), 1, quantised_max_d + 1);
  EXPECT_THROW(QuantisedQueries(queries, 127), std::invalid_argument);
}

TEST(ScreenedPass, TheLargestSumsFit) {
  // Every product is of the largest integers, with either sign.
  Random random(92);
  Problem p("extremes", random, 2, 64, 50000);
  for (auto& x : p.q) x = 1.0f;
  for (int j = 0; j < p.n; ++j) {
    for (int c = 0; c < p.d; ++c) p.key(j, c) = (j % 2 == 0 ? 1.0f : -1.0f) * (1.0f - static_cast<float>(j) * 0x1p-10f);
  }
  EXPECT_EQ(wrong_rows(p, all_of(p), {3, 1, 32}), 0);
  Screen screen(p);
  for (float const threshold : {-1e30f, -50000.0f, 0.0f, 50000.0f, 1e30f}) {
    screen.quantised.panels[0].set_threshold(0, threshold);
    for (int j = 0; j < p.n; ++j) EXPECT_TRUE(screen.passes(0, 0, j) || p.score(0, j) <= threshold);
  }
  screen.quantised.panels[0].set_threshold(0, 1e30f);
  EXPECT_FALSE(screen.passes(0, 0, 0));
}

}  // namespace
}  // namespace asymptop
