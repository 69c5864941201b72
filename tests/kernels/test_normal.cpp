// Synthetic tensors: the generator's words, the same element from any tile, and the statistics of normal numbers.
#include <Random123/philox.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "input/normal_tile.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop {
namespace {

using test::Random;

template <class Space>
std::vector<float> normal_tile(Stream stream, GlobalIndex first, int rows, int padded, int d) {
  Space const space;
  Matrix<Space, float> tile("Asymptop::test::tile", static_cast<std::size_t>(padded), static_cast<std::size_t>(d));
  Kokkos::deep_copy(tile, 777.0f);  // no element may keep it
  fill_normal(space, stream, first, rows, padded, tile);
  space.fence();
  return test::values_of(tile);
}

TEST(Philox, WordsEqualRandom123) {
  Random random(10);
  r123::Philox4x32 philox;
  for (int i = 0; i < 20000; ++i) {
    auto const row = i == 0 ? 0 : i == 1 ? ~std::uint64_t{0} : random.bits();
    auto const group = static_cast<std::uint32_t>(i == 1 ? ~std::uint64_t{0} : random.bits());
    Stream const stream{static_cast<std::uint32_t>(random.bits()), static_cast<std::uint32_t>(random.bits())};
    std::uint32_t w0, w1, w2, w3;
    philox_words(stream, row, group, w0, w1, w2, w3);
    r123::Philox4x32::ctr_type const counter = {{static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), group, 0u}};
    r123::Philox4x32::ukey_type const key = {{stream.key0, stream.key1}};
    auto const expected = philox(counter, key);
    ASSERT_EQ((std::array{w0, w1, w2, w3}), (std::array{expected[0], expected[1], expected[2], expected[3]}))
        << "row " << row << " group " << group;
  }
}

TEST(Philox, ExtremeWordsGiveFiniteNormals) {
  for (std::uint32_t const a : {0u, 1u, 2u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    for (std::uint32_t const b : {0u, 1u, 0x3fffffffu, 0x40000000u, 0x7fffffffu, 0x80000000u, 0xc0000000u, 0xffffffffu}) {
      float x, y;
      box_muller(a, b, x, y);
      ASSERT_TRUE(std::isfinite(x) && std::isfinite(y)) << a << " " << b;
      ASSERT_LE(std::hypot(x, y), 6.8f) << a << " " << b;
    }
  }
}

/// -2 log u of u = (a + 1/2) / 2^32 in fp64.
double squared_radius(std::uint32_t a) {
  double const t = std::ldexp(static_cast<double>(static_cast<std::int32_t>(a)) + 0.5, -32);
  return t < 0.0 ? -2.0 * std::log1p(t) : -2.0 * std::log(t);
}

/// The unit vector of a word in fp64: within a quarter turn about 0, mirrored by bit 0, axes swapped by bit 1.
std::array<double, 2> direction(std::uint32_t b) {
  double const angle = 0.785398163397448310 * std::ldexp(static_cast<double>(static_cast<std::int32_t>(b)), -31);
  double const c = (b & 1u) != 0u ? -std::cos(angle) : std::cos(angle), s = std::sin(angle);
  return (b & 2u) != 0u ? std::array{s, c} : std::array{c, s};
}

/// Radius and angle against the same words in fp64.
TEST(Philox, BoxMullerAgainstFp64) {
  Random random(12);
  for (int i = 0; i < 200000; ++i) {
    auto const a = static_cast<std::uint32_t>(random.bits() >> (i % 32)), b = static_cast<std::uint32_t>(random.bits() >> (i / 32 % 32));
    float x, y;
    box_muller(a, b, x, y);
    double const radius = std::sqrt(squared_radius(a));
    auto const [c, s] = direction(b);
    ASSERT_NEAR(static_cast<double>(x), radius * c, 3e-7 * radius) << a << " " << b;
    ASSERT_NEAR(static_cast<double>(y), radius * s, 3e-7 * radius) << a << " " << b;
  }
}

template <class Space>
class NormalTile : public ::testing::Test {};
TYPED_TEST_SUITE(NormalTile, test::Spaces);

TYPED_TEST(NormalTile, ElementDoesNotDependOnTheTile) {
  using Space = TypeParam;
  Random random(11);
  for (int const d : {1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 128, 130}) {
    Stream const stream = tensor_stream(random.bits(), 3, 4096, d, Tensor::keys);
    for (GlobalIndex const first : {GlobalIndex{0}, (GlobalIndex{1} << 32) - 5, (GlobalIndex{1} << 48) - 20}) {
      auto const whole = normal_tile<Space>(stream, first, 19, 19, d);
      auto const width = static_cast<std::size_t>(d);
      for (int begin = 0; begin < 19;) {
        int const rows = static_cast<int>(random.integer(1, 19 - begin));
        auto const padding = static_cast<int>(random.integer(0, 3));
        auto const part = normal_tile<Space>(stream, first + begin, rows, rows + padding, d);
        for (std::size_t i = 0; i < static_cast<std::size_t>(rows) * width; ++i) {
          ASSERT_EQ(bit_cast<std::uint32_t>(part[i]), bit_cast<std::uint32_t>(whole[static_cast<std::size_t>(begin) * width + i]))
              << "d " << d << " first " << first << " begin " << begin << " element " << i;
        }
        for (std::size_t i = static_cast<std::size_t>(rows) * width; i < part.size(); ++i)
          ASSERT_EQ(part[i], 0.0f) << "d " << d << " padding " << i;
        begin += rows;
      }
      std::set<float> const distinct(whole.begin(), whole.end());
      EXPECT_GT(distinct.size(), whole.size() * 9 / 10) << "d " << d << " first " << first;
    }
  }
}

TYPED_TEST(NormalTile, NoRowsIsAllPadding) {
  for (float const x : normal_tile<TypeParam>({1, 2}, 5, 0, 9, 7)) EXPECT_EQ(x, 0.0f);
}

TYPED_TEST(NormalTile, ElementIsItsQuad) {
  // Column c of row i is number c / stride of the quad c % stride: the definition, element by element.
  for (int const d : {1, 3, 5, 63, 64, 65}) {
    Stream const stream{17, 23};
    auto const tile = normal_tile<TypeParam>(stream, 100, 4, 4, d);
    int const stride = (d + 3) / 4;
    for (int i = 0; i < 4; ++i) {
      for (int c = 0; c < d; ++c) {
        std::array<float, 4> x{};
        normal_quad(stream, static_cast<std::uint64_t>(100 + i), static_cast<std::uint32_t>(c % stride), x[0], x[1], x[2], x[3]);
        // Vectorised and scalar code may round apart by contraction.
        ASSERT_NEAR(tile[static_cast<std::size_t>(i * d + c)], x[static_cast<std::size_t>(c / stride)], 2e-6f)
            << "d " << d << " row " << i << " column " << c;
      }
    }
  }
}

TEST(NormalStream, DiffersForEveryPartOfItsName) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> streams;
  std::size_t made = 0;
  for (std::uint64_t const seed : {0ull, 1ull, 2ull, 1ull << 32, (1ull << 32) + 1}) {
    for (std::uint64_t const draw : {0ull, 1ull, 2ull, 1ull << 32}) {
      for (std::int64_t const n :
           {std::int64_t{1}, std::int64_t{2}, std::int64_t{64}, std::int64_t{1} << 32, (std::int64_t{1} << 32) + 1}) {
        for (std::int64_t const d : {1, 2, 64}) {
          for (std::uint32_t tensor = 1; tensor <= 6; ++tensor) {
            auto const stream = tensor_stream(seed, draw, n, d, static_cast<Tensor>(tensor));
            streams.insert({stream.key0, stream.key1});
            ++made;
          }
        }
      }
    }
  }
  EXPECT_EQ(streams.size(), made);
}

/// Sums of products must stay within `sigmas` of what independent normals give.
void expect_uncorrelated(std::vector<float> const& a, std::vector<float> const& b, char const* what) {
  double xy = 0.0, squares = 0.0, cross = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double const x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    xy += x * y;
    squares += (x * x - 1.0) * (y * y - 1.0);
    cross += x * (y * y - 1.0);
  }
  double const root = std::sqrt(static_cast<double>(a.size()));
  EXPECT_LT(std::fabs(xy) / root, 5.5) << what;
  EXPECT_LT(std::fabs(squares) / (2.0 * root), 6.0) << what << ", squares";
  EXPECT_LT(std::fabs(cross) / (std::sqrt(2.0) * root), 5.5) << what << ", value with square";
}

class NormalStatistics : public ::testing::Test {
 protected:
  using Space = Kokkos::DefaultExecutionSpace;
  static constexpr int rows = 1 << 16;
  static std::vector<float> tensor(std::uint64_t draw, int d, Tensor kind = Tensor::keys, GlobalIndex first = 0) {
    return normal_tile<Space>(tensor_stream(test::test_seed(), draw, 65536, d, kind), first, rows, rows, d);
  }
  static std::vector<float> columns(std::vector<float> const& x, int d, int first, int step) {
    std::vector<float> result;
    for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(d)) {
      for (int c = first; c < d; c += step) result.push_back(x[i + static_cast<std::size_t>(c)]);
    }
    return result;
  }
};

TEST_F(NormalStatistics, Moments) {
  for (int const d : {1, 5, 64}) {
    auto const x = tensor(0, d);
    double const n = static_cast<double>(x.size());
    double m1 = 0.0, m2 = 0.0, m3 = 0.0, m4 = 0.0;
    for (float const value : x) {
      double const v = static_cast<double>(value);
      m1 += v / n;
      m2 += v * v / n;
      m3 += v * v * v / n;
      m4 += v * v * v * v / n;
    }
    EXPECT_LT(std::fabs(m1) * std::sqrt(n), 5.0) << "d " << d;
    EXPECT_LT(std::fabs(m2 - 1.0) * std::sqrt(n / 2.0), 5.0) << "d " << d;
    EXPECT_LT(std::fabs(m3) * std::sqrt(n / 15.0), 5.0) << "d " << d;
    EXPECT_LT(std::fabs(m4 - 3.0) * std::sqrt(n / 96.0), 5.0) << "d " << d;
  }
}

TEST_F(NormalStatistics, DistributionAndTails) {
  constexpr int bins = 256;
  std::vector<double> count(bins, 0.0), above(6, 0.0), below(6, 0.0);
  double const edges[6] = {1.0, 2.0, 3.0, 4.0, 4.5, 5.0};
  double total = 0.0;
  for (std::uint64_t draw = 1; draw <= 4; ++draw) {
    for (float const value : tensor(draw, 64)) {
      double const v = static_cast<double>(value);
      count[static_cast<std::size_t>(std::min(bins - 1.0, 0.5 * std::erfc(-v / std::sqrt(2.0)) * bins))] += 1.0;
      for (std::size_t i = 0; i < 6; ++i) {
        above[i] += v > edges[i] ? 1.0 : 0.0;
        below[i] += v < -edges[i] ? 1.0 : 0.0;
      }
      total += 1.0;
    }
  }
  double chi2 = 0.0;
  for (double const c : count) chi2 += (c - total / bins) * (c - total / bins) / (total / bins);
  EXPECT_NEAR(chi2, bins - 1.0, 6.0 * std::sqrt(2.0 * (bins - 1.0)));
  for (std::size_t i = 0; i < 6; ++i) {
    double const expected = total * 0.5 * std::erfc(edges[i] / std::sqrt(2.0));
    EXPECT_NEAR(above[i], expected, 5.5 * std::sqrt(expected) + 3.0) << "above " << edges[i];
    EXPECT_NEAR(below[i], expected, 5.5 * std::sqrt(expected) + 3.0) << "below " << -edges[i];
  }
}

TEST_F(NormalStatistics, NeighboursAreIndependent) {
  int const d = 64;
  auto const x = tensor(0, d);
  for (int const step : {1, 2, 16, 32, 48}) {  // 16, 32 and 48 columns on: the same words of the generator
    std::vector<float> a, b;
    for (std::size_t i = 0; i < x.size(); i += 64) {
      for (std::size_t c = 0; c + static_cast<std::size_t>(step) < 64; ++c) {
        a.push_back(x[i + c]);
        b.push_back(x[i + c + static_cast<std::size_t>(step)]);
      }
    }
    expect_uncorrelated(a, b, ("columns " + std::to_string(step) + " apart").c_str());
  }
  for (std::size_t const step : {1, 2, 1024}) {
    std::vector<float> const a(x.begin(), x.end() - static_cast<std::ptrdiff_t>(step * 64)),
        b(x.begin() + static_cast<std::ptrdiff_t>(step * 64), x.end());
    expect_uncorrelated(a, b, ("rows " + std::to_string(step) + " apart").c_str());
  }
  expect_uncorrelated(x, tensor(1, d), "draws");
  expect_uncorrelated(x, tensor(0, d, Tensor::values), "tensors");
  expect_uncorrelated(x, tensor(0, d, Tensor::keys, GlobalIndex{1} << 32), "rows 2^32 apart");
  auto const other = normal_tile<Space>(tensor_stream(test::test_seed() + 1, 0, 65536, d, Tensor::keys), 0, rows, rows, d);
  expect_uncorrelated(x, other, "seeds");
  expect_uncorrelated(columns(x, d, 0, 2), columns(x, d, 1, 2), "even and odd columns");
}

}  // namespace
}  // namespace asymptop
