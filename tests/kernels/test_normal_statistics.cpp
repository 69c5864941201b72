// Statistics of synthetic tensors: moments, tails, and independence over counters, columns, rows, draws and tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "support/normals.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::normal_tile;

/// Of counts that are expected to be equal.
double chi_square(std::vector<double> const& count) {
  double total = 0.0, result = 0.0;
  for (double const c : count) total += c;
  double const expected = total / static_cast<double>(count.size());
  for (double const c : count) result += (c - expected) * (c - expected) / expected;
  return result;
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

TEST_F(NormalStatistics, MomentsByWidth) {
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

/// Equal bins of the distribution function.
TEST_F(NormalStatistics, Distribution) {
  constexpr int bins = 256;
  std::vector<double> count(bins, 0.0);
  double total = 0.0;
  for (std::uint64_t draw = 1; draw <= 4; ++draw) {
    for (float const value : tensor(draw, 64)) {
      double const v = static_cast<double>(value);
      count[static_cast<std::size_t>(std::min(bins - 1.0, 0.5 * std::erfc(-v / std::sqrt(2.0)) * bins))] += 1.0;
      total += 1.0;
    }
  }
  EXPECT_NEAR(chi_square(count), bins - 1.0, 6.0 * std::sqrt(2.0 * (bins - 1.0)));
}

/// Power sums and counts beyond the edges of both tails, over 2^27 normals.
struct TailCounts {
  static constexpr std::array<float, 6> edges = {1.0f, 2.0f, 3.0f, 4.0f, 4.5f, 5.0f};
  std::array<double, 4> moment{};
  std::array<std::int64_t, 6> above{}, below{};
  float largest = 0.0f;
  double total = 0.0;

  void add(std::vector<float> const& x) {
    for (float const value : x) {
      double const v = static_cast<double>(value);
      moment[0] += v;
      moment[1] += v * v;
      moment[2] += v * v * v;
      moment[3] += v * v * v * v;
      largest = std::max(largest, std::fabs(value));
    }
    for (std::size_t e = 0; e < edges.size(); ++e) {
      int high = 0, low = 0;
      for (float const value : x) {
        high += value > edges[e] ? 1 : 0;
        low += value < -edges[e] ? 1 : 0;
      }
      above[e] += high;
      below[e] += low;
    }
    total += static_cast<double>(x.size());
  }
};

TEST_F(NormalStatistics, MomentsAndTailsOfALargeSample) {
  TailCounts counts;
  auto const stream = tensor_stream(test::test_seed(), 9, 1 << 21, 64, Tensor::keys);
  for (int piece = 0; piece < 32; ++piece)
    counts.add(normal_tile<Space>(stream, (GlobalIndex{1} << 33) + GlobalIndex{piece} * rows, rows, rows, 64));
  double const root = std::sqrt(counts.total);
  constexpr double mean[4] = {0.0, 1.0, 0.0, 3.0}, variance[4] = {1.0, 2.0, 15.0, 96.0};
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_LT(std::fabs(counts.moment[i] / counts.total - mean[i]) * root, 5.0 * std::sqrt(variance[i])) << "moment " << i + 1;
  for (std::size_t e = 0; e < counts.edges.size(); ++e) {
    double const expected = counts.total * 0.5 * std::erfc(static_cast<double>(counts.edges[e]) / std::sqrt(2.0));
    // Five standard deviations; a Poisson count of 38 beyond 5 sigma leaves that with probability below 1e-5.
    EXPECT_NEAR(static_cast<double>(counts.above[e]), expected, 5.0 * std::sqrt(expected)) << "above " << counts.edges[e];
    EXPECT_NEAR(static_cast<double>(counts.below[e]), expected, 5.0 * std::sqrt(expected)) << "below " << -counts.edges[e];
  }
  EXPECT_GT(counts.largest, 5.0f);
  EXPECT_LE(counts.largest, 6.8f);
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

/// Which numbers of a tensor of 64 columns are looked at together: those `offset` after each column 0, step, ... below `end` of a row, for
/// rows so far apart that no number is looked at twice.
struct Triples {
  std::array<std::size_t, 3> offset;
  std::size_t end = 64, step = 1;
};

/// Independence beyond correlation: equal counts in the octants of three numbers, and in the squares of quartiles of two.
void expect_equal_cells(std::vector<float> const& x, Triples const& triples, char const* what) {
  std::vector<double> octants(8, 0.0), quartiles(16, 0.0);
  auto const quartile = [](float v) { return v < 0.0f ? (v < -0.67448975f ? 0u : 1u) : (v < 0.67448975f ? 2u : 3u); };
  auto const [first, second, third] = triples.offset;
  auto const reach = std::max({first, second, third}) + triples.end - 1;
  for (std::size_t row = 0; row + reach < x.size(); row += 64 * (reach / 64 + 1)) {
    for (std::size_t c = row; c < row + triples.end; c += triples.step) {
      float const a = x[c + first], b = x[c + second], d = x[c + third];
      octants[(a < 0.0f ? 1u : 0u) + (b < 0.0f ? 2u : 0u) + (d < 0.0f ? 4u : 0u)] += 1.0;
      quartiles[quartile(a) * 4u + quartile(b)] += 1.0;
    }
  }
  // Independent numbers pass each bound with a probability above 1 - 1e-6.
  EXPECT_LT(chi_square(octants), 7.0 + 9.5 * std::sqrt(14.0)) << what << ", octants";
  EXPECT_LT(chi_square(quartiles), 15.0 + 8.0 * std::sqrt(30.0)) << what << ", quartiles";
}

TEST_F(NormalStatistics, JointCellsAreEqual) {
  for (std::uint64_t draw = 2; draw < 5; ++draw) {
    auto const x = tensor(draw, 64);
    expect_equal_cells(x, {{0, 16, 32}, 16}, "words of one counter: first, second, third");
    expect_equal_cells(x, {{16, 48, 0}, 16}, "words of one counter: second, fourth, first");
    expect_equal_cells(x, {{0, 1, 2}, 63, 3}, "neighbouring columns");
    expect_equal_cells(x, {{0, 64, 128}}, "neighbouring rows");
    expect_equal_cells(x, {{0, 32 * 64, 16 * 64}}, "rows of neighbouring groups of keys");
    expect_equal_cells(x, {{0, 65, 34}, 17}, "neighbouring columns of neighbouring rows");
    auto const y = tensor(draw + 10, 64), z = tensor(draw, 64, Tensor::values);
    std::vector<float> joined;
    for (std::size_t i = 0; i < x.size(); i += 64) {
      for (auto const* from : {&x, &y, &z})
        joined.insert(joined.end(), from->begin() + static_cast<std::ptrdiff_t>(i), from->begin() + static_cast<std::ptrdiff_t>(i) + 64);
    }
    expect_equal_cells(joined, {{0, 64, 128}}, "draws and tensors");
  }
}

}  // namespace
}  // namespace asymptop
