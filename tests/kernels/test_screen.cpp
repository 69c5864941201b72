// Screening in 8 bits at one vector width: the bound holds, is worth having, and heads are those of the fp32 pass to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "profile/fused_first_pass.hpp"
#include "score/quantised.hpp"
#include "score/score_pairs.hpp"
#include "score/screen_panel.hpp"
#include "support/random.hpp"
#include "topk/screened_pass.hpp"

namespace asymptop {
namespace {

using test::Random;
using Space = Kokkos::DefaultHostExecutionSpace;
constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(Simd, DotOfFourBytesIsExact) {
  using namespace simd;
  Random random(80);
  for (int i = 0; i < 3000; ++i) {
    alignas(64) std::int32_t sum[width], u[width], s[width], out[width];
    std::int32_t expected[width];
    for (int l = 0; l < width; ++l) {
      sum[l] = static_cast<std::int32_t>(random.integer(-1000000000, 1000000000));
      expected[l] = sum[l];
      std::uint32_t u_bits = 0, s_bits = 0;
      for (int b = 0; b < 4; ++b) {
        auto const extreme = random.integer(0, 3);
        auto const x = static_cast<std::int32_t>(extreme == 0 ? 255 : extreme == 1 ? 0 : random.integer(0, 255));
        auto const y = static_cast<std::int32_t>(extreme == 0 ? -128 : extreme == 1 ? 127 : random.integer(-128, 127));
        u_bits |= static_cast<std::uint32_t>(x) << (8 * b);
        s_bits |= (static_cast<std::uint32_t>(y) & 0xffu) << (8 * b);
        expected[l] += x * y;
      }
      u[l] = static_cast<std::int32_t>(u_bits);
      s[l] = static_cast<std::int32_t>(s_bits);
    }
    store(out, dot4(load(sum), load(u), load(s)));
    for (int l = 0; l < width; ++l) ASSERT_EQ(out[l], expected[l]);
  }
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

/// Row-major queries and keys.
struct Problem {
  std::string name;
  int rows, n, d;
  std::vector<float> q, k;

  Problem(std::string what, Random& random, int row_count, int keys, int columns, double q_size = 1.0, double k_size = 1.0)
      : name(std::move(what)), rows(row_count), n(keys), d(columns) {
    q = random.normals(static_cast<std::size_t>(rows * d), q_size);
    k = random.normals(static_cast<std::size_t>(n * d), k_size);
  }
  float& key(int j, int c) { return k[static_cast<std::size_t>(j * d + c)]; }
  float& query(int i, int c) { return q[static_cast<std::size_t>(i * d + c)]; }
  float score(int i, int j) const {
    float s = 0.0f;
    for (int c = 0; c < d; ++c) s = std::fma(q[static_cast<std::size_t>(i * d + c)], k[static_cast<std::size_t>(j * d + c)], s);
    return s;
  }
  std::vector<float> packed() const {
    std::vector<float> out(packed_size(n, d));
    pack_keys(k.data(), n, d, out.data());
    return out;
  }
};

/// Every kind of finite input that a bound may stumble over.
std::vector<Problem> adversaries(Random& random, int rows, int n, int d) {
  std::vector<Problem> all;
  auto const add = [&](char const* name, double q_size, double k_size, std::function<void(Problem&)> const& change) {
    all.emplace_back(name, random, rows, n, d, q_size, k_size);
    change(all.back());
  };
  auto const each_key = [](std::function<void(Problem&, int)> const& change) {
    return [change](Problem& p) {
      for (int j = 0; j < p.n; ++j) change(p, j);
    };
  };
  add("normal", 1, 1, [](Problem&) {});
  add("integers", 1, 1, [](Problem& p) {
    for (auto& x : p.q) x = std::round(x);
    for (auto& x : p.k) x = std::round(x);
  });
  add("huge coordinates", 1, 1, each_key([&](Problem& p, int j) {
        if (random.integer(0, 20) == 0) p.key(j, static_cast<int>(random.integer(0, p.d - 1))) = j % 2 == 0 ? 1e30f : -1e30f;
      }));
  add("norms overflow", 1, 1, each_key([&](Problem& p, int j) {
        if (random.integer(0, 40) == 0) p.key(j, static_cast<int>(random.integer(0, p.d - 1))) = 3.4e38f;
      }));
  add("scores overflow", 1e30, 1e8, each_key([&](Problem& p, int j) {
        if (random.integer(0, 40) == 0) p.key(j, 0) = 1e20f;
      }));
  add("denormal keys", 1, 1e-40, [](Problem&) {});
  add("denormal queries", 1e-41, 1, [](Problem&) {});
  add("denormal products", 1e-20, 1e-20, [](Problem&) {});
  add("products that vanish", 1e-30, 1e-25, [](Problem&) {});
  add("tiny and huge", 1e-38, 1e38, [](Problem&) {});
  add("equal keys", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(0, c);
      }));
  add("two values", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(j % 2, c);
      }));
  add("neighbours", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(0, c) * (1.0f + static_cast<float>(j * 7 % 13) * 0x1p-23f);
      }));
  add("zero keys", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d && j % 3 != 0; ++c) p.key(j, c) = 0.0f;
      }));
  add("all zero", 0, 0, [](Problem&) {});
  add("zero queries", 1, 1, [](Problem& p) {
    for (int i = 0; i < p.rows; i += 2) {
      for (int c = 0; c < p.d; ++c) p.query(i, c) = 0.0f;
    }
  });
  add("ascending", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.query(0, c) * static_cast<float>(j);
      }));
  add("uneven norms", 1, 1, each_key([&](Problem& p, int j) {
        auto const size = static_cast<float>(std::exp2(20.0 * random.normal()));
        for (int c = 0; c < p.d; ++c) p.key(j, c) *= size;
      }));
  add("cancelling", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c + 1 < p.d; c += 2) {
          p.key(j, c) *= 1e6f;
          p.key(j, c + 1) = -p.key(j, c);
        }
        for (int i = 0; i < p.rows && j == 0; ++i) {
          for (int c = 0; c + 1 < p.d; c += 2) p.query(i, c + 1) = p.query(i, c);
        }
      }));
  return all;
}

/// One problem quantised, and what the screen says about it.
struct Screen {
  std::vector<float> packed;
  std::vector<std::uint8_t> values;
  std::vector<KeyGroupBound> bounds;
  PackedQueries queries;
  QuantisedQueries quantised;

  explicit Screen(Problem const& p)
      : packed(p.packed()),
        values(quantised_size(p.n, p.d)),
        bounds(quantised_groups(p.n)),
        queries(p.q.data(), p.rows, p.d),
        quantised(queries) {
    quantise_keys(Space(), packed.data(), p.n, p.d, values.data(), bounds.data());
    Space().fence();
  }
  QuantisedKeys keys() const { return {values.data(), bounds.data()}; }
  /// Whether key j passes for row r of panel p at the thresholds that are set.
  bool passes(std::size_t panel, int row, int j) const {
    int const rows = queries.panels[panel].rows, g = j / key_group;
    auto const group = keys().from(g, queries.d);
    alignas(64) std::int32_t start[QuantisedQueries::panel_lanes];
    std::int32_t passed_rows[simd::panel_pairs], passed_keys[simd::panel_pairs];
    simd::PassedPairs passed{passed_rows, passed_keys, 0};
    simd::start_sums(quantised.panels[panel], *group.bounds, quantised.reach, group.bounds->largest_norm <= quantised.largest_norm, start);
    simd::screen_panel_of(rows)(&quantised.bytes[quantised.offset[panel]], group.values, quantised.steps, start, 0, passed);
    bool found = false;
    for (std::size_t i = 0; i < passed.count; ++i) {
      found = found || (passed_rows[i] == row && passed_keys[i] == j % key_group);
      // Each pair once, a row's keys ascending.
      for (std::size_t before = 0; before < i; ++before)
        EXPECT_TRUE(passed_rows[before] != passed_rows[i] || passed_keys[before] < passed_keys[i]);
    }
    return found;
  }
};

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
      std::int32_t rows[simd::pair_batch], keys[simd::pair_batch];
      alignas(64) float scores[simd::pair_batch];
      for (auto& row : rows) row = static_cast<std::int32_t>(random.integer(0, p.rows - 1));
      for (auto& key : keys) key = static_cast<std::int32_t>(random.integer(0, p.n - 1));
      simd::score_pairs(lines, rows, packed.data(), keys, count, d, scores);
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(scores[i], p.score(rows[i], keys[i])) << "d " << d << ", count " << count;
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
  EXPECT_NEAR(at_64.bound, 0.12, 0.02);
  EXPECT_NEAR(at_128.bound, 0.18, 0.02);
  EXPECT_LT(at_64.ratio, 2.0);
  EXPECT_LT(many.ratio, 1.6);
  EXPECT_GE(at_64.ratio, 1.0);
  EXPECT_LT(at_128.ratio, 2.5);
}

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
  Screen screen(p);
  for (auto& bound : screen.bounds) {
    bound.residual *= run.shrink;
    bound.norm *= run.shrink;
  }
  ScreenedPass<Space> pass(screen.queries, run.keep, run.threads, limits);
  if (run.sample > 0) pass.guess_thresholds(Space(), screen.packed.data(), run.sample, p.n);
  for (int first = 0; first < p.n; first += run.piece)
    pass.add(Space(), screen.packed.data() + static_cast<std::ptrdiff_t>(first) * p.d, screen.keys().from(first / key_group, p.d),
             static_cast<LocalIndex>(first), std::min(run.piece, p.n - first));
  auto const expected = fp32_heads(p, limits, run.keep);
  auto const short_rows = pass.short_rows();
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
  EXPECT_THROW(QuantisedQueries{queries}, std::invalid_argument);
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
