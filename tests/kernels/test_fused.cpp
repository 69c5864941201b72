// The fused host kernels at one vector width: scores to the bit, bins as the portable kernels fill them, heads as a sort finds them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/profile/fused_first_pass.hpp"
#include "kernels/score/key_tile.hpp"
#include "kernels/score/score_packed.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop {
namespace {

using test::Random;
using Space = Kokkos::DefaultHostExecutionSpace;

struct Problem {
  int rows, n, d;
  std::vector<float> q, k, packed;
  Problem(Random& random, int row_count, int keys, int columns, bool integers = false) : rows(row_count), n(keys), d(columns) {
    auto const value = [&] { return integers ? static_cast<float>(random.integer(-1, 1)) : static_cast<float>(random.normal()); };
    for (int i = 0; i < rows * d; ++i) q.push_back(value() / (integers ? 1.0f : std::sqrt(static_cast<float>(d))));
    for (int i = 0; i < n * d; ++i) k.push_back(value());
    packed.assign(packed_size(n, d), NAN);  // packing must fill the last group
    pack_keys(k.data(), n, d, packed.data());
  }
  /// The contract of panel.hpp, one multiplication at a time.
  float score(int row, int key) const {
    float s = 0.0f;
    for (int c = 0; c < d; ++c) s = std::fma(q[static_cast<std::size_t>(row * d + c)], k[static_cast<std::size_t>(key * d + c)], s);
    return s;
  }
  std::vector<float> row_scores(int row) const {
    std::vector<float> scores;
    for (int j = 0; j < n; ++j) scores.push_back(score(row, j));
    return scores;
  }
};

TEST(ScorePanel, EveryPanelHeightToTheBit) {
  Random random(60);
  for (int rows = 1; rows <= 30; ++rows) {
    for (int const d : {1, 2, 3, 17, 64}) {
      Problem const p(random, rows, 70, d);
      PackedQueries const queries(p.q.data(), rows, d);
      Matrix<Space, float> const scores("Asymptop::test::scores", static_cast<std::size_t>(rows), 96);
      score_packed(Space(), queries, p.packed.data(), p.n, scores);
      Space().fence();
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < p.n; ++j) ASSERT_EQ(scores(i, j), p.score(i, j)) << "rows " << rows << " d " << d << " at " << i << ", " << j;
      }
    }
  }
}

TEST(ScorePanel, PanelsCoverTheRowsOnce) {
  for (int rows = 1; rows <= 300; ++rows) {
    PackedQueries const queries(std::vector<float>(static_cast<std::size_t>(rows), 1.0f).data(), rows, 1);
    int next = 0;
    for (auto const& panel : queries.panels) {
      ASSERT_EQ(panel.first_row, next);
      ASSERT_GE(panel.rows, 1);
      ASSERT_LE(panel.rows, panel_rows);
      next += panel.rows;
    }
    ASSERT_EQ(next, rows);
  }
}

TEST(KeyTile, BothLayoutsGiveTheSameProducts) {
  Random random(61);
  for (int const d : {1, 5, 64}) {
    Problem const p(random, 1, 64, d);
    std::vector<double> const q(p.q.begin(), p.q.end());
    std::vector<double> dot(64), square(64), packed_dot(64), packed_square(64);
    KeyTile{p.k.data(), d, false}.dots(q.data(), 0, 64, dot.data(), square.data());
    KeyTile{p.packed.data(), d, true}.dots(q.data(), 0, 64, packed_dot.data(), packed_square.data());
    for (std::size_t j = 0; j < 64; ++j) {
      EXPECT_NEAR(dot[j], packed_dot[j], 1e-13 * d);
      EXPECT_NEAR(square[j], packed_square[j], 1e-13 * d * (1.0 + square[j]));
    }
  }
}

TEST(WorkSplit, CoversAllWork) {
  for (int threads = 1; threads <= 20; ++threads) {
    for (int panels = 1; panels <= 30; ++panels) {
      auto const split = split_work(threads, panels);
      ASSERT_LE(split.workers(), threads);
      ASSERT_GE(split.workers(), 1);
      ASSERT_LE(split.row_parts, panels);
      for (int const count : {0, 1, 31, 32, 33, 8192}) {
        int next = 0;
        for (int p = 0; p < split.key_parts; ++p) {
          auto const part = part_of(count, p, split.key_parts, key_group);
          ASSERT_EQ(part.begin, next);
          next = part.end;
        }
        ASSERT_EQ(next, count);
      }
    }
  }
}

/// Runs the pass in pieces and compares heads with a sort of all scores, and bins with one bin_score at a time.
void expect_exact(Problem const& p, KeyRanges const& ranges, int keep, int threads, int piece, bool guess, std::string const& what) {
  Space const space;
  BinGrid const grid{32.0f, 20 * 32};
  int const first_bin = -10 * 32;
  auto const first_bins = test::vector_of<Space>(std::vector<int>(static_cast<std::size_t>(p.rows), first_bin));
  PackedQueries const queries(p.q.data(), p.rows, p.d);
  FusedFirstPass<Space> pass(queries, {keep, true, grid, threads}, first_bins, ranges);
  int const sample = p.n / key_group * key_group;
  if (guess) pass.guess_thresholds(space, p.packed.data(), sample, p.n, p.n);
  for (int first = 0; first < p.n; first += piece)
    pass.add(space, p.packed.data() + static_cast<std::ptrdiff_t>(first) * p.d, static_cast<LocalIndex>(first),
             std::min(piece, p.n - first));
  auto const moments = pass.moments(space);
  auto const short_rows = pass.short_rows(p.n);
  for (int i = 0; i < p.rows; ++i) {
    auto const scores = p.row_scores(i);
    auto const seen = static_cast<std::size_t>(i);
    std::vector<PackedCandidate> expected, spare;
    std::vector<BinMoments> bins(static_cast<std::size_t>(grid.count));
    for (std::int64_t j = ranges.first(seen); j < ranges.limit[seen]; ++j) {
      auto const s = scores[static_cast<std::size_t>(j)];
      expected.push_back(pack(s, static_cast<LocalIndex>(j)));
      auto const binned = bin_score(s, grid, first_bin);
      auto& bin = bins[static_cast<std::size_t>(binned.bin)];
      bin.count += 1;
      bin.first += binned.r;
      bin.second += binned.r2;
    }
    std::sort(expected.begin(), expected.end(), std::greater<>());
    expected.resize(std::min(expected.size(), static_cast<std::size_t>(keep)));
    auto const where = what + ", row " + std::to_string(i) + ", keep " + std::to_string(keep) + ", threads " + std::to_string(threads);
    bool const is_short = std::find(short_rows.begin(), short_rows.end(), i) != short_rows.end();
    ASSERT_TRUE(is_short || pass.head(i, spare) == expected) << where;
    for (int b = 0; b < grid.count; ++b) {
      ASSERT_EQ(moments(i, b, 0), bins[static_cast<std::size_t>(b)].count) << where << ", bin " << b;
      ASSERT_EQ(moments(i, b, 1), bins[static_cast<std::size_t>(b)].first) << where << ", bin " << b;
      ASSERT_EQ(moments(i, b, 2), bins[static_cast<std::size_t>(b)].second) << where << ", bin " << b;
    }
  }
  EXPECT_TRUE(guess || short_rows.empty()) << what;
}

TEST(FusedFirstPass, HeadsAndBinsAreExact) {
  Random random(62);
  for (int const n : {1, 31, 33, 700, 5000}) {
    for (int const rows : {1, 13}) {
      for (bool const integers : {false, true}) {
        Problem const p(random, rows, n, 8, integers);
        std::vector<std::int64_t> const all(static_cast<std::size_t>(rows), n);
        for (int const keep : {1, 50, 3000}) {
          for (int const threads : {1, 2, 3})
            expect_exact(p, all, keep, threads, 2048, false, "n " + std::to_string(n) + (integers ? ", ties" : ""));
        }
      }
    }
  }
}

TEST(FusedFirstPass, FlushesBeforeABinIsFull) {
  // All scores fall into one bin: three times what a packed word can count.
  Problem p(*std::make_unique<Random>(63), 1, 3 * static_cast<int>(packed_limit) + 17, 1);
  std::fill(p.k.begin(), p.k.end(), 1.0f);
  pack_keys(p.k.data(), p.n, p.d, p.packed.data());
  p.q[0] = 0.5f / 32.0f;
  for (int const piece : {8192, 1 << 20}) expect_exact(p, KeyRanges({p.n}), 5, 1, piece, false, "one bin");
}

TEST(FusedFirstPass, CausalLimits) {
  Random random(64);
  Problem const p(random, 14, 1100, 4);
  std::vector<std::int64_t> const limits{0, 1, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1099, 1100, 600};
  for (int const keep : {1, 40, 2000}) {
    for (int const threads : {1, 4}) expect_exact(p, limits, keep, threads, 256, false, "causal");
  }
}

TEST(FusedFirstPass, Windows) {
  Random random(66);
  Problem const p(random, 14, 1100, 4, true);
  std::vector<std::int64_t> const limits{0, 1, 15, 16, 17, 33, 512, 513, 1099, 1100, 1100, 600, 600, 1100},
      from{0, 0, 14, 3, 17, 31, 500, 511, 0, 1, 1099, 590, 700, 512};  // windows of no key, of one, over the edges of strips
  for (int const keep : {1, 40, 2000}) {
    for (int const threads : {1, 4}) {
      for (int const piece : {32, 256, 1120}) {
        expect_exact(p, {limits, from}, keep, threads, piece, false, "windows");
        // Rows that see all keys are guessed for beside others that do not.
        expect_exact(p, {std::vector<std::int64_t>(14, 1100), from}, keep, threads, piece, true, "windows, guessed");
      }
    }
  }
}

TEST(FusedFirstPass, GuessedThresholdsChangeNothing) {
  Random random(65);
  Problem const p(random, 5, 40000, 4);
  std::vector<std::int64_t> const all(5, p.n);
  for (int const keep : {100, 700, 5000}) expect_exact(p, all, keep, 2, 8192, true, "guess from all keys");
}

TEST(FusedFirstPass, AGuessThatIsTooHighIsSeen) {
  // The sample holds the largest keys only: every guess is far too high.
  Random random(66);
  Problem p(random, 3, 40000, 1);
  std::sort(p.k.begin(), p.k.end(), std::greater<>());
  for (auto& x : p.q) x = std::fabs(x) + 0.1f;
  pack_keys(p.k.data(), p.n, p.d, p.packed.data());
  Space const space;
  PackedQueries const queries(p.q.data(), 3, 1);
  auto const first_bins = test::vector_of<Space>(std::vector<int>(3, 0));
  FusedFirstPass<Space> pass(queries, {4000, false, {}, 1}, first_bins, std::vector<std::int64_t>{p.n, p.n, 20});
  pass.guess_thresholds(space, p.packed.data(), 512, p.n, p.n);
  pass.add(space, p.packed.data(), 0, p.n);
  EXPECT_EQ(pass.short_rows(p.n), (std::vector<int>{0, 1}));  // row 2 sees 20 keys and has no guess
}

}  // namespace
}  // namespace asymptop
