// Synthetic tensors: the generator's words, the same element from any tile, and the statistics of normal numbers.
#include <Random123/philox.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "kernels/input/normal_packed.hpp"
#include "support/normals.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::normal_tile;
using test::Random;

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

/// Every 509th word, which meets every binade of u and of 1 - u, and all words near the ends and the seams.
template <class Visit>
void visit_words(Visit const& visit) {
  for (std::uint64_t w = 0; w < std::uint64_t{1} << 32; w += 509) visit(static_cast<std::uint32_t>(w));
  for (std::uint32_t const seam : {0u, 0x80000000u, 0x40000000u, 0xc0000000u, 0x20000000u, 0x10000000u, 0x1000000u, 0xff000000u}) {
    for (std::uint32_t i = 0; i < 20000; ++i) visit(seam - 10000u + i);
  }
}

TEST(Philox, RadiusOverAllWords) {
  double worst = 0.0;
  std::uint32_t where = 0;
  visit_words([&](std::uint32_t a) {
    float x, y;
    box_muller(a, 0u, x, y);  // the angle 0: the radius itself
    double const radius = std::sqrt(squared_radius(a)), error = std::fabs(static_cast<double>(x) - radius) / radius;
    if (!(error <= worst)) worst = error, where = a;
  });
  std::printf("radius: largest relative error %.3g at word 0x%08x\n", worst, where);
  EXPECT_LT(worst, 1.6e-7);
}

TEST(Philox, DirectionOverAllWords) {
  double worst_cosine = 0.0, worst_sine = 0.0;
  float radius, zero;
  box_muller(0x2b3c4d5eu, 0u, radius, zero);
  visit_words([&](std::uint32_t b) {
    float x, y;
    box_muller(0x2b3c4d5eu, b, x, y);
    auto const [c, s] = direction(b);
    double const r = static_cast<double>(radius);
    // Relative to each coordinate: small coordinates keep their digits.
    worst_cosine = std::max(worst_cosine, std::fabs(static_cast<double>(x) - r * c) / std::fabs(r * c + (c == 0.0 ? 1e-30 : 0.0)));
    worst_sine = std::max(worst_sine, std::fabs(static_cast<double>(y) - r * s) / std::fabs(r * s + (s == 0.0 ? 1e-30 : 0.0)));
  });
  std::printf("direction: largest relative errors %.3g and %.3g\n", worst_cosine, worst_sine);
  EXPECT_LT(worst_cosine, 3e-7);
  EXPECT_LT(worst_sine, 3e-7);
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

/// Column c of row i is number c / stride of the quad c % stride: the definition, element by element. Host and device may contract
/// differently; on the host lanes and scalars do the same operations.
template <class Space>
void expect_quads(Stream stream, GlobalIndex first, int rows, int d) {
  auto const tile = normal_tile<Space>(stream, first, rows, rows, d);
  int const stride = (d + 3) / 4;
  for (int i = 0; i < rows; ++i) {
    for (int c = 0; c < d; ++c) {
      std::array<float, 4> x{};
      normal_quad(stream, static_cast<std::uint64_t>(first + i), static_cast<std::uint32_t>(c % stride), x[0], x[1], x[2], x[3]);
      float const made = tile[static_cast<std::size_t>(i * d + c)], defined = x[static_cast<std::size_t>(c / stride)];
      ASSERT_NEAR(made, defined, is_host_space<Space> ? 0.0f : 2e-6f) << "d " << d << " row " << first + i << " column " << c;
    }
  }
}

TYPED_TEST(NormalTile, ElementIsItsQuad) {
  for (int const d : {1, 3, 5, 63, 64, 65}) {
    for (GlobalIndex const first : {GlobalIndex{100}, (GlobalIndex{1} << 32) - 2, (GlobalIndex{1} << 32) - 40, GlobalIndex{9} << 40}) {
      expect_quads<TypeParam>({17, 23}, first, 50, d);
      if (this->HasFatalFailure()) return;
    }
  }
}

using HostSpaces = ::testing::Types<Kokkos::Serial, Kokkos::DefaultHostExecutionSpace>;
template <class Space>
class NormalPacked : public ::testing::Test {};
TYPED_TEST_SUITE(NormalPacked, HostSpaces);

/// Fails unless packed rows are the bits of row-major ones, their padding is zero, and nothing is written past the last group.
template <class Space>
void expect_packed_equals_row_major(Stream stream, GlobalIndex first, int rows, int d) {
  auto const groups = static_cast<std::size_t>((rows + packed_keys - 1) / packed_keys), width = static_cast<std::size_t>(d);
  constexpr float untouched = 777.0f;
  std::vector<float> packed(groups * packed_keys * width + 64, untouched);
  Space const space;
  fill_normal_packed(space, stream, first, rows, d, packed.data());
  space.fence();
  auto const tile = normal_tile<Space>(stream, first, rows, rows, d);
  for (std::size_t j = 0; j < groups * packed_keys; ++j) {
    for (std::size_t c = 0; c < width; ++c) {
      float const made = packed[(j / packed_keys) * packed_keys * width + c * packed_keys + j % packed_keys];
      float const expected = j < static_cast<std::size_t>(rows) ? tile[j * width + c] : 0.0f;
      ASSERT_EQ(bit_cast<std::uint32_t>(made), bit_cast<std::uint32_t>(expected))
          << "d " << d << " first " << first << " rows " << rows << " key " << j << " column " << c;
    }
  }
  for (std::size_t i = groups * packed_keys * width; i < packed.size(); ++i) ASSERT_EQ(packed[i], untouched) << "d " << d << " past " << i;
}

TYPED_TEST(NormalPacked, SameBitsAsRowMajor) {
  Random random(13);
  constexpr GlobalIndex turn = GlobalIndex{1} << 32;
  for (int const d : {1, 2, 3, 4, 5, 31, 63, 64, 65, 100, 127, 128, 257}) {
    Stream const stream = tensor_stream(random.bits(), 1, 4096, d, Tensor::keys);
    for (int const rows : {1, 31, 32, 33, 97}) {
      // Unaligned starts, and rows whose upper half changes inside a group, at its first key and at its last.
      for (GlobalIndex const first :
           {GlobalIndex{0}, GlobalIndex{5}, turn - 32, turn - 31, turn - 17, turn - 1, turn, 3 * turn - 40, (GlobalIndex{1} << 47) + 11}) {
        expect_packed_equals_row_major<TypeParam>(stream, first, rows, d);
        if (this->HasFatalFailure()) return;
      }
    }
  }
}

TYPED_TEST(NormalPacked, NoRowsWriteNothing) {
  float untouched = 777.0f;
  fill_normal_packed(TypeParam{}, {1, 2}, 5, 0, 1, &untouched);
  EXPECT_EQ(untouched, 777.0f);
}

/// All widths of builds with FMA give the same numbers: every such build is held to one sum over the bits of a sample.
TEST(NormalBits, AreThoseOfEveryBuildWithFma) {
  std::uint64_t sum = 0;
#if !defined(__CUDACC__)
  std::printf("%d lanes\n", lane_count);
#endif
  for (int const d : {5, 64, 100}) {
    for (float const x : normal_tile<Kokkos::Serial>({0x12345678u, 0x9abcdef0u}, (GlobalIndex{1} << 32) - 700, 1000, 1000, d))
      sum = sum * 6364136223846793005ull + bit_cast<std::uint32_t>(x);
  }
#if defined(__FMA__)
  EXPECT_EQ(sum, 4644603089633858610ull);
#else
  GTEST_SKIP() << "no FMA; sum " << sum;
#endif
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

}  // namespace
}  // namespace asymptop
