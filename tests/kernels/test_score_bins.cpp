// Binned moments against direct fp64 sums, for scores placed where the expansion is worst; exactness of the integer sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/profile/profile_top_k.hpp"
#include "kernels/profile/score_bins.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop {
namespace {

using test::Random;

struct BinnedRow {
  BinGrid grid;
  int first_bin;
  std::vector<BinMoments> bins;
  double centre(std::size_t bin) const {
    return (static_cast<double>(first_bin) + static_cast<double>(bin)) / static_cast<double>(grid.bins_per_unit);
  }
};

BinnedRow bin_row(std::vector<float> const& scores, float bins_per_unit) {
  auto const [low, high] = std::minmax_element(scores.begin(), scores.end());
  BinnedRow row;
  row.first_bin = static_cast<int>(std::floor(*low * bins_per_unit)) - 2;
  row.grid = {bins_per_unit, static_cast<int>(std::ceil(*high * bins_per_unit)) + 2 - row.first_bin + 1};
  row.bins.resize(static_cast<std::size_t>(row.grid.count));
  for (float const s : scores) {
    auto const binned = bin_score(s, row.grid, row.first_bin);
    auto& bin = row.bins[static_cast<std::size_t>(binned.bin)];
    bin.count += 1;
    bin.first += binned.r;
    bin.second += binned.r2;
  }
  return row;
}

/// Documented relative bound of e0 at c: the polynomial's, and the rounding of r to 2^-14 and of r^2 to 2^-9 (its coefficient is c^2 / 2).
double bound(double c) { return c * c * c / 192.0 * (1.0 + c) + (c * std::ldexp(1.0, -15) + c * c * std::ldexp(1.0, -11)) * (1.0 + c); }

/// All three sums within the bounds; sigma = c / width.
void expect_sums(std::vector<float> const& scores, float bins_per_unit, double c, char const* what) {
  double const sigma = c * static_cast<double>(bins_per_unit);
  double const top = static_cast<double>(*std::max_element(scores.begin(), scores.end()));
  auto const row = bin_row(scores, bins_per_unit);
  ExponentialSums sums;
  for (std::size_t b = 0; b < row.bins.size(); ++b)
    sums.add(bin_sums(row.bins[b], sigma, 1.0 / static_cast<double>(bins_per_unit), row.centre(b) - top));
  double z1 = 0.0, z2 = 0.0, h = 0.0, absolute_h = 0.0;
  for (float const s : scores) {
    double const y = sigma * (static_cast<double>(s) - top), e = std::exp(y);
    z1 += e;
    z2 += e * e;
    h += y * e;
    absolute_h += std::fabs(y) * e;
  }
  EXPECT_LE(std::fabs(sums.z1 - z1), bound(c) * z1) << what << ", c = " << c;
  EXPECT_LE(std::fabs(sums.z2 - z2), bound(2.0 * c) * z2) << what << ", c = " << c;
  // y e^y = (bin centre) e0 + c e1; r^3 economised to 3/16 r errs by at most 1/32, so e1 by c^2 / 64; then the rounding of r and r^2.
  double const e1 = c * (c * c / 64.0 + std::ldexp(1.0, -15) + c * std::ldexp(1.0, -10)) * (1.0 + c);
  EXPECT_LE(std::fabs(sums.h - h), bound(c) * (absolute_h + c * z1) + e1 * z1) << what << ", c = " << c;
}

TEST(ScoreBins, DocumentedBounds) {
  EXPECT_LT(bound(1.0 / 32.0), 1.7e-6);
  EXPECT_LT(bound(1.0 / 16.0), 5.6e-6);
}

TEST(ScoreBins, EqualScoresAtEveryPlaceInABin) {
  for (double const c : {1.0 / 32.0, 1.0 / 16.0}) {
    for (int i = -64; i <= 64; ++i) {  // both edges, and the extremes of the Chebyshev remainder at +-1/4 and +-1/2
      float const r = static_cast<float>(i) / 128.0f;
      for (float const centre : {0.0f, 1.0f, -3.0f, 77.0f})
        expect_sums(std::vector<float>(1000, (centre + r) / 32.0f), 32.0f, c, "equal scores");
    }
  }
}

TEST(ScoreBins, BoundIsTight) {
  // Over all places in a bin the error comes to more than half the bound: a test that a bound of half the size would not do.
  double const c = 1.0 / 32.0;
  double worst = 0.0;
  for (int i = -4096; i <= 4096; ++i) {
    float const r = (static_cast<float>(i) + 0.49f) / 8192.5f;
    auto const row = bin_row({r / 32.0f}, 32.0f);
    double sum = 0.0;
    for (std::size_t b = 0; b < row.bins.size(); ++b) sum += bin_sums(row.bins[b], 1.0, 1.0 / 32.0, row.centre(b)).z1;
    worst = std::max(worst, std::fabs(sum / std::exp(static_cast<double>(r) * c) - 1.0));
  }
  EXPECT_GT(worst, 0.5 * bound(c));
  EXPECT_LE(worst, bound(c));
}

TEST(ScoreBins, MixedPlacements) {
  Random random(20);
  for (double const c : {1.0 / 32.0, 1.0 / 16.0, 1e-3}) {
    std::vector<float> edges, both, wide, far;
    for (int i = -300; i <= 300; ++i) edges.push_back((static_cast<float>(i) + 0.5f) / 32.0f);
    for (int i = 0; i < 999; ++i) both.push_back((i % 3 == 0 ? 0.5f : -0.25f) / 32.0f);
    for (int i = 0; i < 20000; ++i) wide.push_back(static_cast<float>(random.normal()));
    for (int i = 0; i < 1000; ++i) far.push_back(-20.0f + static_cast<float>(random.uniform(-0.1, 0.1)));
    far.push_back(0.0f);
    expect_sums(edges, 32.0f, c, "bin edges");
    expect_sums(both, 32.0f, c, "edge and quarter");
    expect_sums(wide, 32.0f, c, "normal scores");
    expect_sums(wide, 64.0f, c, "normal scores, finer bins");
    expect_sums(far, 32.0f, c, "tail far below");
  }
}

TEST(ScoreBins, ResidualsAreNearest) {
  // score = (bin + r) / bins_per_unit to within half a unit of r, wherever the score's own last digit is finer than that.
  Random random(21);
  for (float const bins_per_unit : {16.0f, 32.0f, 1024.0f}) {
    for (int i = 0; i < 20000; ++i) {
      float const s = static_cast<float>(random.uniform(-8.0, 8.0));
      BinGrid const grid{bins_per_unit, 20 * static_cast<int>(bins_per_unit)};
      int const first = -10 * static_cast<int>(bins_per_unit);
      auto const binned = bin_score(s, grid, first);
      double const r = static_cast<double>(s) * static_cast<double>(bins_per_unit) - static_cast<double>(first + binned.bin);
      ASSERT_LE(std::fabs(r), 0.5);
      ASSERT_LE(std::fabs(static_cast<double>(binned.r) / static_cast<double>(first_scale) - r),
                0.5 / static_cast<double>(first_scale) * 1.0001);
      ASSERT_LE(std::fabs(static_cast<double>(binned.r2) / static_cast<double>(second_scale) - r * r),
                0.5 / static_cast<double>(second_scale) * 1.0001);
    }
  }
}

TEST(ScoreBins, OutOfRangeGoesToTheOutermostBins) {
  BinGrid const grid{32.0f, 10};
  EXPECT_EQ(bin_score(-100.0f, grid, -5).bin, 0);
  EXPECT_EQ(bin_score(100.0f, grid, -5).bin, 9);
}

TEST(ScoreBins, PackedWordsUnpack) {
  Random random(22);
  constexpr int half = 1 << 13;
  for (int trial = 0; trial < 50; ++trial) {
    PackedMoments packed = 0;
    BinMoments direct;
    int const place = trial % 4;
    for (int i = 0; i < packed_limit; ++i) {
      auto const r = place == 0 ? -half : place == 1 ? half : place == 2 ? 0 : static_cast<std::int32_t>(random.integer(-half, half));
      auto const r2 = place == 0 || place == 1 ? 128 : static_cast<std::int32_t>(random.integer(0, 128));
      packed += pack_moments(r, r2);
      direct.count += 1;
      direct.first += r;
      direct.second += r2;
    }
    auto const unpacked = unpack_moments(packed);
    ASSERT_EQ(unpacked.count, direct.count);
    ASSERT_EQ(unpacked.first, direct.first);
    ASSERT_EQ(unpacked.second, direct.second);
  }
}

template <class Space>
class BinnedPass : public ::testing::Test {
 protected:
  /// Moments of one row after a pass in tiles of `tile` keys, flushed as rarely as packed_limit allows, or after each tile.
  static std::vector<std::int64_t> moments(std::vector<float> scores, BinGrid grid, int first_bin, int tile, bool flush_each) {
    Space const space;
    auto const n = static_cast<int>(scores.size());
    scores.resize((scores.size() + static_cast<std::size_t>(tile)) / static_cast<std::size_t>(tile) * static_cast<std::size_t>(tile) + 64,
                  7.0f);
    ProfileTopK<Space> state(space, grid, test::vector_of<Space, int>({first_bin}), 1, tile);
    auto const limit = test::vector_of<Space, std::int64_t>({n});
    for (int first = 0; first < n; first += tile) {
      int const keys = std::min(tile, n - first);
      std::vector<float> part(scores.begin() + first, scores.begin() + first + (keys + 63) / 64 * 64);
      if (flush_each || state.since_flush + keys > packed_limit) flush(space, state);
      prune(space, state.candidates, tile);
      add_tile(space, state, test::matrix_of<Space>(part, 1), limit, {0, 1, static_cast<LocalIndex>(first), keys});
      state.since_flush += keys;
      space.fence();
    }
    flush(space, state);
    space.fence();
    return test::values_of(state.moments);
  }
};
TYPED_TEST_SUITE(BinnedPass, test::Spaces);

TYPED_TEST(BinnedPass, ExactIntegersInAnyOrderAndTiling) {
  Random random(23);
  std::vector<float> scores = random.normals(10007);
  for (int i = 0; i < 500; ++i) scores.push_back((static_cast<float>(i % 40) + 0.5f) / 32.0f);
  auto const row = bin_row(scores, 32.0f);
  std::vector<std::int64_t> direct;
  for (auto const& bin : row.bins) direct.insert(direct.end(), {bin.count, bin.first, bin.second});
  for (int const tile : {64, 128, 1024, 4096}) {
    EXPECT_EQ(this->moments(scores, row.grid, row.first_bin, tile, false), direct) << "tile " << tile;
    EXPECT_EQ(this->moments(scores, row.grid, row.first_bin, tile, true), direct) << "tile " << tile << ", flushed each time";
    std::shuffle(scores.begin(), scores.end(), random.engine());
  }
}

/// packed_limit scores may go into one bin between two flushes, at either of its edges.
TYPED_TEST(BinnedPass, FullestBinBetweenFlushes) {
  for (float const r : {-0.5f, 0.5f, 0.25f}) {
    for (GlobalIndex const extra : {-1, 0, 1}) {
      std::vector<float> const scores(static_cast<std::size_t>(packed_limit + extra), (2.0f + r) / 32.0f);  // ties round to the even bin 2
      auto const result = this->moments(scores, {32.0f, 5}, 0, 1024, false);
      EXPECT_EQ(result[6], packed_limit + extra) << "r " << r << " extra " << extra;
      EXPECT_EQ(result[7], static_cast<std::int64_t>(r * first_scale) * (packed_limit + extra)) << "r " << r << " extra " << extra;
      EXPECT_EQ(result[8], static_cast<std::int64_t>(r * r * second_scale) * (packed_limit + extra)) << "r " << r << " extra " << extra;
    }
  }
}

}  // namespace
}  // namespace asymptop
