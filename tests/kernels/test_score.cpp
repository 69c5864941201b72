// Score tiles against fp64 dot products, and the promise that a key's score does not depend on which tile of a pass it is in.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "kernels/core/math.hpp"
#include "kernels/score/score_tile.hpp"
#include "kernels/score/softcap.hpp"
#include "support/attention_problem.hpp"

namespace asymptop {
namespace {

using test::Random;

template <class Space>
class ScoreTiles : public ::testing::Test {
 protected:
  static std::vector<float> run(std::vector<float> const& queries, std::size_t rows, std::vector<float> const& keys, int key_count,
                                int tile) {
    Space const space;
    Matrix<Space, float> const scores("Asymptop::test::scores", rows, static_cast<std::size_t>(key_count));
    Kokkos::deep_copy(scores, std::nanf(""));  // no element may keep it
    score_tiles(space, test::matrix_of<Space>(queries, rows), test::matrix_of<Space>(keys, static_cast<std::size_t>(key_count)), scores,
                key_count, tile);
    space.fence();
    return test::values_of(scores);
  }
};
TYPED_TEST_SUITE(ScoreTiles, test::Spaces);

TYPED_TEST(ScoreTiles, WithinTheBoundOfAnFp32DotProduct) {
  Random random(50);
  for (std::size_t const d : {1, 3, 5, 63, 64, 65, 128}) {
    for (std::size_t const rows : {1, 2, 17, 64}) {
      for (int const tile : {64, 1024}) {
        auto const count = static_cast<std::size_t>(3 * tile);
        auto const q = random.normals(rows * d), k = random.normals(count * d, 3.0);
        auto const scores = this->run(q, rows, k, static_cast<int>(count), tile);
        double const u = std::ldexp(1.0, -24), gamma = static_cast<double>(d) * u / (1.0 - static_cast<double>(d) * u);
        double worst = 0.0;
        for (std::size_t i = 0; i < rows; ++i) {
          for (std::size_t j = 0; j < count; ++j) {
            double dot = 0.0, absolute = 0.0;
            for (std::size_t c = 0; c < d; ++c) {
              double const product = static_cast<double>(q[i * d + c]) * static_cast<double>(k[j * d + c]);
              dot += product;
              absolute += std::fabs(product);
            }
            double const excess = std::fabs(static_cast<double>(scores[i * count + j]) - dot) / (gamma * absolute);
            worst = std::isnan(excess) ? INFINITY : std::max(worst, excess);
          }
        }
        EXPECT_LE(worst, 1.0 + 1e-9) << "d " << d << " rows " << rows << " tile " << tile;
      }
    }
  }
}

/// Tiles t0 t1 t2 ... of a pass hold the same keys: every bit of their scores must be the same.
TYPED_TEST(ScoreTiles, SameBitsInEveryTile) {
  Random random(51);
  for (std::size_t const d : {3, 64, 65}) {
    for (int const tile : {64, 256, 1024}) {
      std::size_t const rows = 33, tiles = 5;
      auto const width = static_cast<std::size_t>(tile);
      auto const q = random.normals(rows * d), one = random.normals(width * d);
      std::vector<float> keys;
      for (std::size_t t = 0; t < tiles; ++t) keys.insert(keys.end(), one.begin(), one.end());
      auto const all = this->run(q, rows, keys, tile * static_cast<int>(tiles), tile), alone = this->run(q, rows, one, tile, tile);
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < width * tiles; ++j) {
          ASSERT_EQ(bit_cast<std::uint32_t>(all[i * width * tiles + j]), bit_cast<std::uint32_t>(alone[i * width + j % width]))
              << "d " << d << " tile " << tile << " key " << j;
        }
      }
    }
  }
}

TYPED_TEST(ScoreTiles, PaddingScoresZeroAndChangesNothing) {
  Random random(52);
  std::size_t const d = 64, rows = 9;
  auto const q = random.normals(rows * d);
  auto keys = random.normals(128 * d);
  auto const full = this->run(q, rows, keys, 128, 128);
  std::fill(keys.begin() + 100 * d, keys.end(), 0.0f);
  auto const padded = this->run(q, rows, keys, 128, 128);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < 128; ++j) {
      ASSERT_EQ(padded[i * 128 + j], j < 100 ? full[i * 128 + j] : 0.0f) << j;
    }
  }
}

TYPED_TEST(ScoreTiles, RaggedTileIsRefused) {
  std::vector<float> const q(64, 1.0f), k(96 * 64, 1.0f);
  EXPECT_THROW(this->run(q, 1, k, 96, 64), std::invalid_argument);
  EXPECT_THROW(this->run(std::vector<float>(63, 1.0f), 1, std::vector<float>(64 * 64, 1.0f), 64, 64), std::invalid_argument);
}

TEST(ScoreTiles, LengthIsAFunctionOfTheBlock) {
  EXPECT_EQ(tile_keys(64), 64);
  EXPECT_EQ(tile_keys(1024), 512);
  EXPECT_EQ(tile_keys(GlobalIndex{1} << 20), 512);
}

/// Scores of all sizes, infinities of the cap's own among them.
std::vector<float> scores_of_all_sizes(Random& random) {
  std::vector<float> scores;
  for (int exponent = -40; exponent < 30; ++exponent) {
    for (int i = 0; i < 16; ++i) scores.push_back(static_cast<float>(std::ldexp(random.normal(), exponent)));
  }
  return scores;
}

TYPED_TEST(ScoreTiles, ASoftcapIsATanh) {
  using Space = TypeParam;
  Space const space;
  Random random(53);
  auto const raw = scores_of_all_sizes(random);
  for (double const cap : {0.5, 30.0, 1000.0}) {
    auto const capped = test::matrix_of<Space>(raw, 2);
    cap_tiles(space, capped, 2, static_cast<int>(raw.size() / 2), cap);
    space.fence();
    auto const values = test::values_of(capped);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      double const expected = cap * std::tanh(static_cast<double>(raw[i]) / cap);
      EXPECT_NEAR(static_cast<double>(values[i]), expected, std::ldexp(std::fabs(expected), -23) + 1e-14 * cap) << raw[i] << " cap " << cap;
      EXPECT_LE(std::fabs(values[i]), static_cast<float>(cap));
    }
  }
  auto const as_they_are = test::matrix_of<Space>(raw, 2);
  cap_tiles(space, as_they_are, 2, static_cast<int>(raw.size() / 2), 0.0);
  space.fence();
  EXPECT_EQ(test::values_of(as_they_are), raw);
}

/// The order of scores stays, up to ties where the cap has no more digits.
TEST(Softcap, NeverTurnsTwoScoresAround) {
  Random random(54);
  auto scores = scores_of_all_sizes(random);
  std::sort(scores.begin(), scores.end());
  auto capped = scores;
  cap_scores(30.0, capped.data(), 1, static_cast<int>(capped.size()) / key_group, 0);
  EXPECT_TRUE(std::is_sorted(capped.begin(), capped.end()));
}

}  // namespace
}  // namespace asymptop
