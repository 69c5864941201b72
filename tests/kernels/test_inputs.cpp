// Synthetic input beyond normals: the same row alone, in any tile and packed, and each distribution against its theory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "config/input_list.hpp"
#include "kernels/input/normal_rows.hpp"
#include "support/inputs.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::every_kind;
using test::input_tile;
using test::Random;
using test::source_of;
using Host = Kokkos::DefaultHostExecutionSpace;

std::vector<float> rows_alone(InputSource<Host> const& source, GlobalIndex first, int rows, int d) {
  std::vector<float> all(static_cast<std::size_t>(rows * d));
  for (int i = 0; i < rows; ++i) input_row(source, static_cast<std::uint64_t>(first + i), d, &all[static_cast<std::size_t>(i * d)]);
  return all;
}

/// Fails unless a tile and packed groups hold the bits of the rows, and zeros after them.
void expect_rows_everywhere(InputKind const& kind, InputSource<Host> const& source, GlobalIndex first, int rows, int d) {
  auto const where = name_of(kind) + " d " + std::to_string(d) + " first " + std::to_string(first) + " rows " + std::to_string(rows);
  auto const alone = rows_alone(source, first, rows, d), tile = input_tile(source, first, rows, rows + 3, d);
  auto const width = static_cast<std::size_t>(d), count = static_cast<std::size_t>(rows) * width;
  for (std::size_t i = 0; i < tile.size(); ++i)
    ASSERT_EQ(bit_cast<std::uint32_t>(tile[i]), bit_cast<std::uint32_t>(i < count ? alone[i] : 0.0f)) << where << " element " << i;
  auto const groups = static_cast<std::size_t>((rows + key_group - 1) / key_group);
  std::vector<float> packed(groups * key_group * width + 64, 777.0f);
  fill_input_packed(Host(), source, first, rows, d, packed.data());
  Host().fence();
  for (std::size_t j = 0; j < groups * key_group; ++j) {
    for (std::size_t c = 0; c < width; ++c) {
      float const made = packed[(j / key_group) * key_group * width + c * key_group + j % key_group];
      ASSERT_EQ(bit_cast<std::uint32_t>(made), bit_cast<std::uint32_t>(j * width + c < count ? alone[j * width + c] : 0.0f))
          << where << " packed key " << j << " column " << c;
    }
  }
  for (std::size_t i = groups * key_group * width; i < packed.size(); ++i) ASSERT_EQ(packed[i], 777.0f) << where << " past " << i;
}

TEST(Inputs, RowAloneIsTheRowOfAnyTileAndPacked) {
  Random random(31);
  for (auto const& kind : every_kind()) {
    for (int const d : {1, 3, 6, 64, 67}) {
      auto const source = source_of<Host>(kind, random.bits(), d);
      for (GlobalIndex const first : {GlobalIndex{0}, GlobalIndex{121}, (GlobalIndex{1} << 32) - 40, (GlobalIndex{1} << 47) + 64}) {
        expect_rows_everywhere(kind, source, first, static_cast<int>(random.integer(1, 40)), d);
        expect_rows_everywhere(kind, source, first, static_cast<int>(random.integer(129, 300)), d);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Inputs, PlantedRowsReplaceOthers) {
  int const d = 7;
  auto const stream = tensor_stream(test::test_seed(), 0, 4096, d, Tensor::keys);
  InputTables tables;
  tables.planted = {40, 3, 171, 172};
  for (int i = 0; i < 4 * d; ++i) tables.planted_rows.push_back(100.0f + static_cast<float>(i));
  InputSource<Host> const source({Distribution::needle, 1.0}, stream, tables, d);
  InputSource<Host> const plain({}, stream, {}, d);
  for (GlobalIndex const first : {0, 3, 32, 41, 172}) {
    auto const made = input_tile(source, first, 160, 160, d), before = input_tile(plain, first, 160, 160, d);
    std::vector<float> packed(160 * d);
    fill_input_packed(Host(), source, first, 160, d, packed.data());
    Host().fence();
    for (int i = 0; i < 160; ++i) {
      auto const at = std::find(tables.planted.begin(), tables.planted.end(), first + i);
      for (int c = 0; c < d; ++c) {
        auto const e = static_cast<std::size_t>(i * d + c);
        float const expected =
            at == tables.planted.end() ? before[e] : tables.planted_rows[static_cast<std::size_t>((at - tables.planted.begin()) * d + c)];
        ASSERT_EQ(made[e], expected) << first << " row " << i;
        ASSERT_EQ(packed[static_cast<std::size_t>((i / 32) * 32 * d + c * 32 + i % 32)], expected) << first << " packed row " << i;
      }
    }
  }
}

/// Moments of a sample, and those of the distribution with the variance of a mean of x^p: E x^2p - (E x^p)^2 over the number of values.
struct Moments {
  double m[9] = {};
  double count = 0.0;
  explicit Moments(std::vector<float> const& x) : count(static_cast<double>(x.size())) {
    for (float const value : x) {
      double power = 1.0;
      for (double& sum : m) {
        sum += power / count;
        power *= static_cast<double>(value);
      }
    }
  }
};

constexpr int sample_rows = 1 << 15, sample_d = 16;

std::vector<float> sample(InputKind const& kind, std::uint64_t salt, int rows = sample_rows, int d = sample_d) {
  return input_tile(source_of<Host>(kind, test::test_seed() + salt, d), 1000, rows, rows, d);
}

/// Five standard deviations of a mean of independent values; `independent`: how many values count as such.
void expect_moments(InputKind const& kind, std::vector<float> const& x, double kurtosis, double eighth, double dependent = 1.0) {
  Moments const moments(x);
  double const root = std::sqrt(moments.count / dependent);
  EXPECT_LT(std::fabs(moments.m[1]) * root, 5.0) << name_of(kind) << ": mean";
  EXPECT_LT(std::fabs(moments.m[2] - 1.0) * root, 5.0 * std::sqrt(kurtosis - 1.0) + 1e-5 * root) << name_of(kind) << ": variance";
  EXPECT_LT(std::fabs(moments.m[4] - kurtosis) * root, 5.0 * std::sqrt(eighth - kurtosis * kurtosis) + 1e-5 * root)
      << name_of(kind) << ": fourth moment";
}

TEST(Inputs, Moments) {
  using enum Distribution;
  double const d = sample_d;
  expect_moments({gaussian}, sample({gaussian}, 1), 3.0, 105.0);
  expect_moments({uniform}, sample({uniform}, 2), 1.8, 9.0);  // 3^p / (2p + 1)
  expect_moments({rademacher}, sample({rademacher}, 3), 1.0, 1.0);
  // Of a point of the sphere: E x^4 = 3 d / (d + 2), E x^8 = 105 d^3 / ((d + 2)(d + 4)(d + 6)). Columns of a row are dependent, negatively.
  expect_moments({sphere}, sample({sphere}, 4), 3.0 * d / (d + 2.0), 105.0 * d * d * d / ((d + 2.0) * (d + 4.0) * (d + 6.0)));
  // Of t with nu: kurtosis 3 (nu - 2) / (nu - 4), eighth 105 (nu - 2)^3 / ((nu - 4)(nu - 6)(nu - 8)).
  double const nu = 30.0;
  expect_moments({student, nu}, sample({student, nu}, 5), 3.0 * (nu - 2.0) / (nu - 4.0),
                 105.0 * std::pow(nu - 2.0, 3.0) / ((nu - 4.0) * (nu - 6.0) * (nu - 8.0)));
  for (double const rho : {0.5, -0.9}) {
    double const correlated = (1.0 + std::fabs(rho)) / (1.0 - std::fabs(rho));  // variance of a mean over that of independent values
    expect_moments({ar1, rho}, sample({ar1, rho}, 6), 3.0, 105.0, correlated);
  }
}

TEST(Inputs, BoundsAndNorms) {
  using enum Distribution;
  float largest = 0.0f;
  for (float const x : sample({uniform}, 7)) largest = std::max(largest, std::fabs(x));
  EXPECT_LE(largest, 1.7320509f);
  EXPECT_GT(largest, 1.7320f);
  std::vector<float> const signs = sample({rademacher}, 8);
  EXPECT_EQ(std::set<float>(signs.begin(), signs.end()), (std::set<float>{-1.0f, 1.0f}));
  for (int const d : {1, 5, 64}) {
    auto const x = sample({sphere}, 9, 500, d);
    for (std::size_t i = 0; i < 500; ++i) {
      double square = 0.0;
      for (std::size_t c = 0; c < static_cast<std::size_t>(d); ++c)
        square += std::pow(static_cast<double>(x[i * static_cast<std::size_t>(d) + c]), 2);
      ASSERT_NEAR(std::sqrt(square / d), 1.0, 1e-7) << d;
    }
  }
}

/// Equal counts in bins of the distribution function.
template <class Cdf>
void expect_distribution(char const* what, std::vector<float> const& x, Cdf const& cdf) {
  constexpr int bins = 200;
  std::vector<double> count(bins, 0.0);
  for (float const value : x) count[static_cast<std::size_t>(std::clamp(cdf(static_cast<double>(value)) * bins, 0.0, bins - 1.0))] += 1.0;
  double const expected = static_cast<double>(x.size()) / bins;
  double chi_square = 0.0;
  for (double const c : count) chi_square += (c - expected) * (c - expected) / expected;
  EXPECT_NEAR(chi_square, bins - 1.0, 6.0 * std::sqrt(2.0 * (bins - 1.0))) << what;
}

TEST(Inputs, Distributions) {
  using enum Distribution;
  double const pi = std::acos(-1.0);
  expect_distribution("uniform", sample({uniform}, 11), [](double x) { return (x / std::sqrt(3.0) + 1.0) / 2.0; });
  expect_distribution("student:1", sample({student, 1.0}, 12), [&](double t) { return 0.5 + std::atan(t) / pi; });
  expect_distribution("student:2", sample({student, 2.0}, 13), [](double t) { return 0.5 + t / (2.0 * std::sqrt(2.0 + t * t)); });
  expect_distribution("student:3", sample({student, 3.0}, 14), [&](double x) {
    double const t = x;  // x = t / sqrt(3), the standard deviation of t
    return 0.5 + (t / (1.0 + t * t) + std::atan(t)) / pi;
  });
  expect_distribution("ar1:0.5", sample({ar1, 0.5}, 15, 1 << 12), [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); });
}

TEST(Inputs, StudentAgainstFp64) {
  Random random(32);
  for (int i = 0; i < 100000; ++i) {
    double const nu = std::exp(random.uniform(0.0, 14.0));
    auto const a = static_cast<std::uint32_t>(random.bits() >> (i % 32)), b = static_cast<std::uint32_t>(random.bits());
    float x, y;
    box_muller(a, b, x, y);
    double const square = std::pow(static_cast<double>(x), 2) + std::pow(static_cast<double>(y), 2);
    auto const inverse = static_cast<float>(1.0 / nu);
    double const z = square * static_cast<double>(inverse), expected = static_cast<double>(x) * std::sqrt(std::expm1(z) / z);
    ASSERT_NEAR(static_cast<double>(student_value(x, y, inverse, 1.0f)), expected, 3e-7 * (1.0 + z) * std::fabs(expected))
        << nu << " " << a << " " << b;
  }
}

/// Products of values some rows and columns apart, against their expectation; `terms`: the sum of squared correlations of the sequence.
void expect_products(std::string const& what, std::vector<float> const& x, int rows, int columns, double expected, double terms) {
  double sum = 0.0, count = 0.0;
  for (int i = 0; i + rows < sample_rows; ++i) {
    for (int c = 0; c + columns < sample_d; ++c) {
      auto const at = static_cast<std::size_t>(i * sample_d + c);
      sum += static_cast<double>(x[at]) * static_cast<double>(x[at + static_cast<std::size_t>(rows * sample_d + columns)]);
      count += 1.0;
    }
  }
  // Bartlett: the variance of a sample autocovariance is at most twice the sum of squared correlations over the number of products.
  EXPECT_NEAR(sum / count, expected, 5.5 * std::sqrt(2.0 * terms / count))
      << what << ", " << rows << " rows and " << columns << " columns on";
}

TEST(Inputs, CorrelationInTime) {
  for (double const rho : {0.0, 0.5, -0.8, 0.9, 0.99, 0.999}) {
    InputKind const kind{Distribution::ar1, rho};
    auto const x = sample(kind, 40);
    double const terms = (1.0 + rho * rho) / (1.0 - rho * rho);
    for (int const lag : {1, 2, 3, 7, 31, 32, 100, 127, 128, 129, 500, 4096})
      expect_products(name_of(kind), x, lag, 0, std::pow(rho, lag), terms);
    for (int const lag : {0, 1, 5}) expect_products(name_of(kind), x, lag, 4, 0.0, terms);
  }
  for (auto const& kind :
       {InputKind{Distribution::uniform}, {Distribution::rademacher}, {Distribution::sphere}, {Distribution::student, 8.0}}) {
    auto const x = sample(kind, 41);
    for (int const rows : {0, 1, 32}) {
      for (int const columns : {0, 1, 4, 8}) {
        if (rows + columns > 0) expect_products(name_of(kind), x, rows, columns, 0.0, 1.0);
      }
    }
  }
}

TEST(Inputs, Clusters) {
  for (double const spread : {0.0, 0.3, 0.9}) {
    InputKind const kind{Distribution::clusters, 5.0, spread};
    auto const source = source_of<Host>(kind, test::test_seed() + 50, sample_d);
    auto const x = input_tile(source, 1000, sample_rows, sample_rows, sample_d);
    // Centres: mean 0, mean square norm d (1 - spread^2), to fp32.
    for (std::size_t c = 0; c < sample_d; ++c) {
      double mean = 0.0;
      for (std::size_t j = 0; j < 5; ++j) mean += static_cast<double>(source.centres(j, c)) / 5.0;
      EXPECT_NEAR(mean, 0.0, 1e-6);
    }
    double centres = 0.0;
    for (std::size_t j = 0; j < 5; ++j) {
      for (std::size_t c = 0; c < sample_d; ++c) centres += std::pow(static_cast<double>(source.centres(j, c)), 2) / 5.0;
    }
    EXPECT_NEAR(centres, sample_d * (1.0 - spread * spread), 1e-5);
    // Members: all clusters alike, normal of deviation `spread` around their centres.
    std::vector<double> count(5, 0.0);
    double square = 0.0, total = 0.0;
    for (int i = 0; i < sample_rows; ++i) {
      auto const cluster = cluster_of(source.stream, static_cast<std::uint64_t>(1000 + i), 5);
      count[cluster] += 1.0;
      for (int c = 0; c < sample_d; ++c) {
        double const value = static_cast<double>(x[static_cast<std::size_t>(i * sample_d + c)]);
        square += std::pow(value - static_cast<double>(source.centres(cluster, c)), 2);
        total += value * value;
      }
    }
    double const values = sample_rows * sample_d, expected = sample_rows / 5.0;
    double chi_square = 0.0;
    for (double const n : count) chi_square += (n - expected) * (n - expected) / expected;
    EXPECT_LT(chi_square, 4.0 + 8.0 * std::sqrt(8.0));
    EXPECT_NEAR(square / values, spread * spread, 5.0 * spread * spread * std::sqrt(2.0 / values) + 1e-9);
    // The members of a cluster share their centre: squares of whole rows vary.
    EXPECT_NEAR(total / values, 1.0, 0.05);
  }
}

TEST(Inputs, NeedlesStandAboveTheirQuery) {
  int const d = 12, m = 9;
  InputKind const kind{Distribution::needle, 2.5};
  Random random(33);
  QueryRows queries;
  queries.q = random.normals(m * d);
  queries.position.assign(m, -1);
  std::vector<std::int64_t> positions(m);
  std::iota(positions.begin(), positions.end(), 17);
  InputTables tables;
  auto const stream = tensor_stream(test::test_seed(), 0, 1 << 20, d, Tensor::keys);
  plant_keys(kind, stream, positions, queries, 1 << 20, tables);
  ASSERT_EQ(tables.planted, positions);
  for (int i = 0; i < m; ++i) {
    double score = 0.0, square = 0.0, across = 0.0;
    std::vector<float> before(d);
    normal_row(stream, static_cast<std::uint64_t>(positions[static_cast<std::size_t>(i)]), d, before.data());
    for (int c = 0; c < d; ++c) {
      double const q = static_cast<double>(queries.q[static_cast<std::size_t>(i * d + c)]);
      double const k = static_cast<double>(tables.planted_rows[static_cast<std::size_t>(i * d + c)]);
      score += q * k;
      square += q * q;
    }
    EXPECT_NEAR(score / std::sqrt(square), std::sqrt(2.0 * std::log(1048576.0)) + 2.5, 1e-5);
    // What is across the query stays as it was.
    double dot = 0.0;
    for (int c = 0; c < d; ++c)
      dot += static_cast<double>(queries.q[static_cast<std::size_t>(i * d + c)]) * static_cast<double>(before[static_cast<std::size_t>(c)]);
    for (int c = 0; c < d; ++c) {
      auto const e = static_cast<std::size_t>(i * d + c);
      double const q = static_cast<double>(queries.q[e]);
      across = std::max(across, std::fabs(static_cast<double>(tables.planted_rows[e]) - q * score / square -
                                          (static_cast<double>(before[static_cast<std::size_t>(c)]) - q * dot / square)));
    }
    EXPECT_LT(across, 1e-5);
  }
}

/// Scores of queries over many keys: their deviation and bounds.
TEST(Inputs, ScoresHaveTheirDeviationAndStayWithinBounds) {
  int const d = sample_d;
  Random random(34);
  for (auto const& kind : every_kind()) {
    if (kind.is(Distribution::student) || kind.is(Distribution::needle) || (kind.is(Distribution::ar1) && std::fabs(kind.parameter) > 0.8))
      continue;
    auto const source = source_of<Host>(kind, test::test_seed() + 60, d);
    InputTables const tables = draw_tables(kind, tensor_stream(test::test_seed() + 60, 0, 4096, d, Tensor::centres), d);
    auto const x = input_tile(source, 0, sample_rows, sample_rows, d);
    for (int query = 0; query < 4; ++query) {
      std::vector<double> q(d);
      for (auto& value : q) value = query == 3 ? (&value == &q[0] ? 1.0 : 0.0) : random.normal();
      double const deviation = score_deviation(kind, tables, q);
      auto const [low, high] = score_bounds(kind, tables, {q, deviation, std::nullopt}, sample_rows);
      double sum = 0.0, square = 0.0, least = 1e30, most = -1e30;
      for (std::size_t i = 0; i < sample_rows; ++i) {
        double const score = std::inner_product(q.begin(), q.end(), &x[i * static_cast<std::size_t>(d)], 0.0);
        sum += score;
        square += score * score;
        least = std::min(least, score);
        most = std::max(most, score);
      }
      double const n = sample_rows, mean = sum / n, correlated = 1.0 + (kind.is(Distribution::ar1) ? 2.0 : 0.0);
      // Kurtosis of all these scores is at most 3.
      EXPECT_NEAR((square / n - mean * mean) / (deviation * deviation), 1.0, 5.0 * std::sqrt(2.0 * correlated / n)) << name_of(kind);
      EXPECT_GE(least, low) << name_of(kind);
      EXPECT_LE(most, high) << name_of(kind);
      EXPECT_LT(high - low, 2.0 * 9.6 * deviation * (kind.is(Distribution::clusters) ? 2.0 : 1.0)) << name_of(kind);
    }
  }
}

TEST(Inputs, LargestNorm) {
  auto const source = source_of<Host>({Distribution::student, 3.0}, test::test_seed() + 70, 5);
  auto const x = input_tile(source, 77, 9000, 9000, 5);
  double largest = 0.0;
  for (std::size_t i = 0; i < 9000; ++i) {
    double square = 0.0;
    for (std::size_t c = 0; c < 5; ++c) square += std::pow(static_cast<double>(x[i * 5 + c]), 2);
    largest = std::max(largest, std::sqrt(square));
  }
  EXPECT_NEAR(largest_row_norm(Host(), source, 77, 9000, 5), largest, 1e-12 * largest);
}

TEST(Inputs, NamesReadBack) {
  for (auto const& kind : every_kind()) EXPECT_EQ(parse_inputs(name_of(kind)), std::vector<InputKind>{kind}) << name_of(kind);
  EXPECT_EQ(name_of(parse_inputs("clusters:016").front()), "clusters:16:0.5");
  EXPECT_EQ(name_of(parse_inputs("student:3.00").front()), "student:3");
}

}  // namespace
}  // namespace asymptop
