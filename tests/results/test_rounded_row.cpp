// Rows in sets of formats, stage by stage against serial arithmetic in long double; selections with ties; the options' sets.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "config/errors.hpp"
#include "precision/precision_rows.hpp"
#include "precision/rounded_row.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;

/// Indices by value descending, then index ascending.
std::vector<std::int64_t> ordered(std::vector<double> const& row) {
  std::vector<std::int64_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)]; });
  return order;
}

TEST(LargestEntries, AreThoseOfASort) {
  Random random(1);
  for (int trial = 0; trial < 400; ++trial) {
    auto const n = random.integer(1, 400);
    std::vector<double> row;
    // From all different to all equal, with zeros.
    auto const kinds = random.integer(0, 12);
    for (std::int64_t i = 0; i < n; ++i) {
      double const x = std::exp(random.uniform(-30.0, 0.0));
      row.push_back(trial % 2 == 0 ? x : static_cast<double>(random.integer(0, kinds)) * 0.0625);
    }
    std::vector<std::int64_t> k = {1, random.integer(1, n), random.integer(1, n), random.integer(1, n), n};
    std::sort(k.begin(), k.end());
    k.erase(std::unique(k.begin(), k.end()), k.end());
    auto const found = largest_entries(row.data(), n, k);
    auto const order = ordered(row);
    ASSERT_EQ(found.size(), k.size());
    for (std::size_t j = 0; j < k.size(); ++j) {
      for (std::int64_t place = 0; place < n; ++place) {
        auto const i = order[static_cast<std::size_t>(place)];
        ASSERT_EQ(found[j].contains(row[static_cast<std::size_t>(i)], i), place < k[j]) << "n " << n << " k " << k[j];
      }
    }
  }
}

/// As a person would: the significand scaled to an integer, rounded, scaled back.
long double nearest(long double x, NumberFormat format) {
  auto const limits = limits_of(format);
  if (x == 0.0L) return x;
  int exponent = 0;
  std::frexp(x, &exponent);
  int const last_place = std::max(exponent - 1, limits.lowest_exponent) - (limits.precision - 1);
  long double const y = std::ldexp(std::nearbyint(std::ldexp(x, -last_place)), last_place);
  if (std::fabs(y) <= static_cast<long double>(limits.largest)) return y;
  return std::copysign(limits.saturates ? static_cast<long double>(limits.largest) : INFINITY, x);
}

struct SerialRow {
  long double normaliser = 0.0L;
  std::vector<double> p;
};

/// One after another, one operation a line; the sum in the sequential order.
SerialRow serial_row(std::vector<double> const& z, double sigma, PrecisionSet const& set) {
  std::vector<long double> logits;
  for (double const x : z) logits.push_back(nearest(sigma * x, set.logits));
  auto const largest = *std::max_element(logits.begin(), logits.end());
  SerialRow row;
  std::vector<long double> e;
  for (auto const s : logits) e.push_back(nearest(std::exp(nearest(s - largest, set.difference)), set.exp));
  for (auto const x : e) row.normaliser = nearest(row.normaliser + nearest(x, set.sum), set.sum);
  for (auto const x : e) row.p.push_back(static_cast<double>(nearest(x / row.normaliser, set.p)));
  return row;
}

struct Problem {
  std::vector<double> z;
  double sigma;
  PrecisionAxes axes;
};

Problem make_problem(Random& random, std::int64_t n) {
  Problem problem;
  for (std::int64_t i = 0; i < n; ++i) problem.z.push_back(random.normal());
  problem.sigma = std::exp(random.uniform(-3.0, 3.0));
  problem.axes.k = {1, (n + 1) / 2, n};
  problem.axes.k.erase(std::unique(problem.axes.k.begin(), problem.axes.k.end()), problem.axes.k.end());
  problem.axes.threshold = {1.0 / static_cast<double>(n), 1e-3};
  return problem;
}

PrecisionSet make_set(Random& random) {
  auto const any = [&] { return all_number_formats[static_cast<std::size_t>(random.integer(0, 4))]; };
  PrecisionSet set;
  set.logits = any();
  set.difference = any();
  set.exp = any();
  set.sum = any();
  set.p = any();
  set.order = SumOrder::sequential;
  return set;
}

TEST(RoundedRow, StagesAreThoseOfSerialArithmetic) {
  Random random(2);
  std::size_t entries = 0, different = 0;
  for (int trial = 0; trial < 600; ++trial) {
    auto const problem = make_problem(random, random.integer(1, trial % 20 == 0 ? 3000 : 200));
    auto const set = make_set(random);
    RoundedRow row(problem.z, problem.sigma, problem.axes, 64);
    PrecisionResiduals checks;
    auto const metrics = row.evaluate(set, &checks);
    for (std::size_t i = 0; i < checks.worst.size(); ++i) {
      EXPECT_LE(checks.worst.values[i], precision_check_tolerances[i])
          << precision_check_names[i] << " " << name_of(set.logits) << " " << name_of(set.difference) << " " << name_of(set.exp) << " "
          << name_of(set.sum) << " " << name_of(set.p) << " n " << problem.z.size();
    }
    auto const serial = serial_row(problem.z, problem.sigma, set);
    // Exponentials of fp64 differ in their last places; one that is next to a midpoint of a narrower format may go the other way, and
    // with it a sum and all that is divided by it.
    bool const wide = set.exp == NumberFormat::fp64 || set.exp == NumberFormat::fp32;
    if (!wide) {
      EXPECT_EQ(metrics.normaliser, static_cast<double>(serial.normaliser));
    }
    for (std::size_t i = 0; i < serial.p.size(); ++i, ++entries) {
      double const tolerance = set.p == NumberFormat::fp64 ? 1e-13 * serial.p[i] + 1e-300 : 0.0;
      bool const same = std::fabs(row.weights()[i] - serial.p[i]) <= tolerance;
      different += same ? 0 : 1;
      EXPECT_TRUE(same || wide) << i;
    }
  }
  EXPECT_LT(static_cast<double>(different), 1e-4 * static_cast<double>(entries));
}

TEST(RoundedRow, MetricsAreTheirDefinitions) {
  Random random(3);
  for (int trial = 0; trial < 300; ++trial) {
    auto const problem = make_problem(random, random.integer(1, 300));
    auto const set = make_set(random);
    RoundedRow row(problem.z, problem.sigma, problem.axes, 64);
    auto const metrics = row.evaluate(set, nullptr);
    auto const p = row.weights();
    auto const exact = serial_row(problem.z, problem.sigma, PrecisionSet{}).p;
    auto const order = ordered(p), exact_order = ordered(exact);
    long double sum = 0.0L, square = 0.0L, information = 0.0L;
    std::int64_t zeros = 0;
    for (double const x : p) {
      sum += x;
      square += static_cast<long double>(x) * x;
      information -= x > 0.0 ? static_cast<long double>(x) * std::log(static_cast<long double>(x)) : 0.0L;
      zeros += x == 0.0 ? 1 : 0;
    }
    auto const near = [&](double value, long double reference, char const* what) {
      EXPECT_NEAR(value, static_cast<double>(reference), 1e-12 * std::max(1.0, std::fabs(static_cast<double>(reference)))) << what;
    };
    near(metrics.sum_p, sum, "sum_p");
    EXPECT_EQ(metrics.zeros, zeros);
    EXPECT_EQ(metrics.p_max, *std::max_element(p.begin(), p.end()));
    for (std::size_t j = 0; j < problem.axes.threshold.size(); ++j) {
      EXPECT_EQ(metrics.count_p_above[j], std::count_if(p.begin(), p.end(), [&](double x) { return x > problem.axes.threshold[j]; }));
    }
    near(metrics.participation_ratio, sum > 0.0L ? sum * sum / square : 0.0L, "participation_ratio");
    near(metrics.entropy_nats, sum > 0.0L ? std::log(sum) + information / sum : 0.0L, "entropy");
    for (std::size_t j = 0; j < problem.axes.k.size(); ++j) {
      long double tail = 0.0L, missed = 0.0L;
      for (auto place = static_cast<std::size_t>(problem.axes.k[j]); place < p.size(); ++place) {
        tail += p[static_cast<std::size_t>(order[place])];
        missed +=
            static_cast<long double>(exact[static_cast<std::size_t>(order[place])]) - exact[static_cast<std::size_t>(exact_order[place])];
      }
      near(metrics.tail_mass[j], sum > 0.0L ? tail / sum : 1.0L, "tail_mass");
      near(metrics.missed_mass[j], missed, "missed_mass");
    }
  }
}

TEST(RoundedRow, NormalsAreNormal) {
  RowStream stream({test::test_seed(), 100001, 0, 0, 0});
  std::vector<double> z(100001);
  draw_normals(stream, z);
  double sum = 0.0, square = 0.0, fourth = 0.0, products = 0.0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    sum += z[i];
    square += z[i] * z[i];
    fourth += z[i] * z[i] * z[i] * z[i];
    products += i > 0 ? z[i] * z[i - 1] : 0.0;
  }
  double const n = static_cast<double>(z.size());
  EXPECT_LT(std::fabs(sum) / std::sqrt(n), 5.0);
  EXPECT_LT(std::fabs(square - n) / std::sqrt(2.0 * n), 5.0);
  EXPECT_LT(std::fabs(fourth - 3.0 * n) / std::sqrt(96.0 * n), 5.0);
  EXPECT_LT(std::fabs(products) / std::sqrt(n), 5.0);
}

TEST(PrecisionSets, AreWhatTheTextSays) {
  using enum NumberFormat;
  auto const sets = parse_precision_sets("bf16; bf16:pairwise; logits=bf16 , sum=fp32; fp16,sum=fp32:blocked,p=e4m3; logits=fp16,exp=bf16");
  ASSERT_EQ(sets.size(), 6u);
  EXPECT_TRUE(sets[0].same_arithmetic(PrecisionSet{}));
  EXPECT_EQ(sets[1].text, "bf16");
  EXPECT_EQ(sets[1].order, SumOrder::sequential);
  for (auto const stage : {&PrecisionSet::logits, &PrecisionSet::difference, &PrecisionSet::exp, &PrecisionSet::sum, &PrecisionSet::p})
    EXPECT_EQ(sets[1].*stage, bf16);
  EXPECT_EQ(sets[2].text, "bf16");
  EXPECT_EQ(sets[2].order, SumOrder::pairwise);
  EXPECT_EQ(sets[3].text, "logits=bf16,sum=fp32");
  EXPECT_EQ(sets[3].logits, bf16);
  EXPECT_EQ(sets[3].difference, fp64);
  EXPECT_EQ(sets[3].sum, fp32);
  EXPECT_EQ(sets[3].p, fp64);
  EXPECT_EQ(sets[4].text, "fp16,sum=fp32,p=fp8");
  EXPECT_EQ(sets[4].order, SumOrder::blocked);
  EXPECT_EQ(sets[4].p, fp8);
  EXPECT_EQ(sets[5].difference, fp32);
  // fp64 in pairs is measured anyway.
  EXPECT_EQ(parse_precision_sets("fp64:pairwise; bf16").size(), 2u);
  EXPECT_EQ(parse_precision_sets("fp64").size(), 2u);
  for (auto const* bad : {"", "bf17", "bf16;", "bf16;bf16", "logits=bf16,logits=fp32", "p=bf16:pairwise", "sum=bf16:random", "mask=bf16",
                          "sum=fp32,bf16", "bf16,difference=bf16;bf16", "=bf16", "bf16:"})
    EXPECT_THROW(parse_precision_sets(bad), UsageError) << bad;
}

}  // namespace
}  // namespace asymptop
