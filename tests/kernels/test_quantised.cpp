// Keys and queries in 8 bits at one vector width: products are exact, the bound holds and is worth having.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/score/quantised.hpp"
#include "kernels/score/score_pairs.hpp"
#include "kernels/score/screen_panel.hpp"
#include "support/random.hpp"
#include "support/screen_problem.hpp"

namespace asymptop {
namespace {

using test::adversaries;
using test::Problem;
using test::Random;
using test::Screen;
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Against sums in whole numbers, s from `least` to `largest`.
template <simd::Dot dot>
void expect_exact_dots(Random& random, int least, int largest) {
  using namespace simd;
  for (int i = 0; i < 3000; ++i) {
    alignas(64) std::int32_t sum[width], u[width], s[width], out[width];
    std::int32_t expected[width];
    for (int l = 0; l < width; ++l) {
      sum[l] = static_cast<std::int32_t>(random.integer(-1000000000, 1000000000));
      expected[l] = sum[l];
      std::uint32_t u_bits = 0, s_bits = 0;
      for (int b = 0; b < 4; ++b) {
        auto const extreme = random.integer(0, 4);
        auto const x = static_cast<std::int32_t>(extreme <= 1 ? 255 : extreme == 2 ? 0 : random.integer(0, 255));
        auto const y = static_cast<std::int32_t>(extreme == 0 ? least : extreme <= 2 ? largest : random.integer(least, largest));
        u_bits |= static_cast<std::uint32_t>(x) << (8 * b);
        s_bits |= (static_cast<std::uint32_t>(y) & 0xffu) << (8 * b);
        expected[l] += x * y;
      }
      u[l] = static_cast<std::int32_t>(u_bits);
      s[l] = static_cast<std::int32_t>(s_bits);
    }
    store(out, dot4<dot>(load(sum), load(u), load(s)));
    for (int l = 0; l < width; ++l) ASSERT_EQ(out[l], expected[l]);
  }
}

TEST(Simd, DotOfFourBytesIsExact) {
  Random random(80);
  expect_exact_dots<simd::Dot::spelt_out>(random, -128, 127);
  expect_exact_dots<simd::Dot::pairs>(random, -simd::pair_levels, simd::pair_levels);
  if (simd::has_dot4()) expect_exact_dots<simd::Dot::instruction>(random, -128, 127);
}

TEST(Quantised, RoundsTheRightWay) {
  for (double const x : {0.1, 1.0, -0.1, 1e-50, -1e-50, 3.4028234e38, 1e300, -1e300, 0.0}) {
    EXPECT_GE(static_cast<double>(round_up(x)), x);
    EXPECT_LE(static_cast<double>(round_down(x)), x);
  }
  EXPECT_EQ(round_up(1.0), 1.0f);
  EXPECT_EQ(round_down(1e300), std::numeric_limits<float>::max());
  EXPECT_EQ(round_down(-std::numeric_limits<double>::infinity()), -infinity);
}

TEST(Quantised, AKeyThatBeatsTheThresholdPasses) {
  Random random(82);
  for (int const d : {1, 2, 3, 4, 7, 64, 129, 200}) {
    for (auto const& p : adversaries(random, 5, 50, d)) {
      Screen screen(p);
      for (int i = 0; i < p.rows; ++i) {
        for (int j = 0; j < p.n; ++j) {
          float const s = p.score(i, j);
          if (std::isnan(s) || s == -infinity) continue;
          for (float const threshold : {std::nextafter(s, -infinity), s - std::fabs(s) * 1e-6f - 1e-45f, -infinity}) {
            if (!(s > threshold)) continue;
            screen.quantised.panels[0].set_threshold(i, threshold);
            ASSERT_TRUE(screen.passes(0, i, j)) << p.name << ", d " << d << ", row " << i << ", key " << j << ", score " << s;
          }
          screen.quantised.panels[0].set_threshold(i, infinity);
          ASSERT_TRUE(!screen.passes(0, i, j) ||
                      !(screen.bounds[static_cast<std::size_t>(j / 32)].largest_norm <= screen.quantised.largest_norm));
        }
      }
    }
  }
}

TEST(Quantised, TheBoundHoldsInDoublePrecision) {
  Random random(83);
  double closest = 0.0;
  for (int const d : {1, 5, 64, 200}) {
    for (auto const& p : adversaries(random, 4, 64, d)) {
      Screen const screen(p);
      auto const& panel = screen.quantised.panels[0];
      for (int i = 0; i < p.rows; ++i) {
        for (int j = 0; j < p.n; ++j) {
          auto const& bound = screen.bounds[static_cast<std::size_t>(j / key_group)];
          float const s = p.score(i, j);
          if (!(bound.largest_norm <= screen.quantised.largest_norm)) continue;
          ASSERT_TRUE(std::isfinite(s)) << p.name;
          std::int64_t product = 0;
          for (int c = 0; c < d; ++c) {
            auto const byte = screen.values[static_cast<std::size_t>((j / key_group * screen.quantised.steps + c / 4) * key_group * 4 +
                                                                     j % key_group * 4 + c % 4)];
            auto const word = screen.quantised.bytes[static_cast<std::size_t>(c / 4 * p.rows + i)];
            product += (static_cast<int>(byte) - 128) * static_cast<std::int8_t>(static_cast<std::uint32_t>(word) >> (8 * (c % 4)) & 0xffu);
          }
          double const unit = static_cast<double>(bound.scale) / panel.unit[i];
          double const error = std::fabs(static_cast<double>(s) * unit - static_cast<double>(product));
          double const allowed = static_cast<double>(panel.size[i]) * static_cast<double>(bound.residual) +
                                 static_cast<double>(panel.residual[i]) * static_cast<double>(bound.norm) + panel.underflow[i] * unit;
          ASSERT_LE(error, allowed) << p.name << ", d " << d << ", row " << i << ", key " << j;
          if (allowed > 0.0 && p.name == "normal") closest = std::max(closest, error / allowed);
        }
      }
    }
  }
  EXPECT_GT(closest, 0.5) << "in one dimension errors come near the bound";
}

TEST(ScorePairs, AreTheScoresOfThePanel) {
  Random random(93);
  for (int const d : {1, 3, 15, 16, 17, 64, 100}) {
    Problem const p("normal", random, 29, 32, d);
    auto const packed = p.packed();
    QueryLines const lines(PackedQueries(p.q.data(), p.rows, d));
    for (std::size_t count = 0; count <= simd::pair_batch; ++count) {
      RowKeyPair pairs[simd::pair_batch];
      alignas(64) float scores[simd::pair_batch];
      for (auto& pair : pairs) pair = static_cast<RowKeyPair>(random.integer(0, p.rows * key_group - 1));
      simd::score_pairs(lines, pairs, packed.data(), count, d, scores);
      for (std::size_t i = 0; i < count; ++i)
        ASSERT_EQ(scores[i], p.score(row_of(pairs[i]), key_of(pairs[i]))) << "d " << d << ", count " << count;
    }
  }
}

/// Bound on a normal score's error in units of sigma, and passing keys per wanted one with final thresholds.
struct Worth {
  double bound, ratio;
};
Worth worth(Random& random, int n, int d, int keep) {
  Problem const p("normal", random, 12, n, d);
  Screen screen(p);
  auto& panel = screen.quantised.panels[0];
  double bound = 0.0, passed = 0.0;
  for (int i = 0; i < p.rows; ++i) {
    std::vector<float> scores;
    for (int j = 0; j < n; ++j) scores.push_back(p.score(i, j));
    std::nth_element(scores.begin(), scores.begin() + keep, scores.end(), std::greater<>());
    panel.set_threshold(i, scores[static_cast<std::size_t>(keep)]);
    auto const& group = screen.bounds[0];
    bound += (static_cast<double>(panel.size[i]) * static_cast<double>(group.residual) +
              static_cast<double>(panel.residual[i]) * static_cast<double>(group.norm)) /
             static_cast<double>(panel.size[i]) / static_cast<double>(group.scale);
    for (int j = 0; j < n; ++j) passed += screen.passes(0, i, j) ? 1.0 : 0.0;
  }
  return {bound / p.rows, passed / p.rows / keep};
}

TEST(Quantised, TheBoundIsWorthHaving) {
  Random random(84);
  auto const at_64 = worth(random, 1 << 14, 64, 16), at_128 = worth(random, 1 << 14, 128, 16), many = worth(random, 1 << 14, 64, 256);
  // Half of the bound is what queries lose by being rounded: twice as much of half as many levels.
  bool const coarse = simd::screen_levels() < 127;
  EXPECT_NEAR(at_64.bound, coarse ? 0.18 : 0.12, 0.02);
  EXPECT_NEAR(at_128.bound, coarse ? 0.25 : 0.18, 0.02);
  EXPECT_LT(at_64.ratio, coarse ? 2.4 : 2.0);
  EXPECT_LT(many.ratio, coarse ? 1.8 : 1.6);
  EXPECT_GE(at_64.ratio, 1.0);
  EXPECT_LT(at_128.ratio, coarse ? 3.2 : 2.5);
}

}  // namespace
}  // namespace asymptop
