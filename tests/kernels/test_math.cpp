// Elementary functions against the C library in fp64, over their whole ranges.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/core/counts.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
constexpr double infinity = std::numeric_limits<double>::infinity();

double relative(double value, double reference) { return std::fabs(value - reference) / std::fabs(reference); }

TEST(Math, ExpFp32OverItsRange) {
  double worst = 0.0;
  auto const visit = [&](float x) {
    worst = std::max(worst, relative(static_cast<double>(exp_fp32(x)), std::exp(static_cast<double>(x))));
  };
  // Negative floats down to -87 by bit pattern, so that every binade is met; then an even grid, which meets every reduced argument.
  for (std::uint32_t bits = 0x80000000u; bits <= bit_cast<std::uint32_t>(-87.0f); bits += 977u) visit(bit_cast<float>(bits));
  for (int i = 0; i <= 2000000; ++i) visit(static_cast<float>(-87.0 + 175.0 * i / 2000000.0));
  EXPECT_LT(worst, 2e-7);
}

TEST(Math, ExpFp32AtItsEdges) {
  EXPECT_EQ(exp_fp32(0.0f), 1.0f);
  EXPECT_EQ(exp_fp32(-0.0f), 1.0f);
  EXPECT_GT(exp_fp32(-87.0f), 0.0f);
  EXPECT_EQ(exp_fp32(std::nextafter(-87.0f, -1000.0f)), 0.0f);
  EXPECT_EQ(exp_fp32(-1e30f), 0.0f);
  EXPECT_EQ(exp_fp32(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isfinite(exp_fp32(88.0f)));
}

TEST(Math, ExpFp64OverItsRange) {
  double worst = 0.0;
  auto const visit = [&](double x) {
    long double const reference = std::exp(static_cast<long double>(x));
    worst = std::max(worst, static_cast<double>(std::fabs((static_cast<long double>(exp_fp64(x)) - reference) / reference)));
  };
  for (int i = 0; i <= 1000000; ++i) visit(-700.0 + 1400.0 * i / 1000000.0);
  for (int power = 0; power < 1022; ++power) {
    visit(std::ldexp(-1.3, -power));
    visit(std::ldexp(1.3, -power));
  }
  Random random(1);
  for (int i = 0; i < 100000; ++i) visit(random.uniform(-40.0, 0.0));
  EXPECT_LT(worst, 1e-15);
}

TEST(Math, LogFp64OverItsRange) {
  double worst = 0.0;
  auto const visit = [&](double x) {
    long double const reference = std::log(static_cast<long double>(x)), scale = std::max(std::fabs(reference), 0x1p-53L);
    worst = std::max(worst, static_cast<double>(std::fabs(static_cast<long double>(log_fp64(x)) - reference) / scale));
  };
  for (int exponent = -1022; exponent < 1024; ++exponent) {
    for (int i = 0; i < 300; ++i) visit(std::ldexp(1.0 + i / 300.0, exponent));
  }
  for (int i = -200000; i <= 200000; ++i) visit(1.0 + 2.5e-6 * i);
  for (int power = 1; power < 53; ++power) {
    visit(1.0 + std::ldexp(1.0, -power));
    visit(1.0 - std::ldexp(1.0, -power));
  }
  Random random(7);
  for (int i = 0; i < 200000; ++i) visit(std::exp(random.uniform(-40.0, 0.0)));
  EXPECT_LT(worst, 1e-15);
  EXPECT_EQ(log_fp64(1.0), 0.0);
}

TEST(Math, ExpFp64AtItsEdges) {
  EXPECT_EQ(exp_fp64(0.0), 1.0);
  EXPECT_GT(exp_fp64(-700.0), 0.0);
  EXPECT_EQ(exp_fp64(std::nextafter(-700.0, -1000.0)), 0.0);
  EXPECT_EQ(exp_fp64(-infinity), 0.0);
}

TEST(Math, RoundToIntegerIsNearestEven) {
  for (float const x : {0.0f, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, 0.49999997f, 0.50000006f, 4194303.5f, -4194303.5f}) {
    EXPECT_EQ(round_to_integer(x), std::nearbyint(x)) << x;
  }
  int wrong = 0;
  for (int i = -400000; i <= 400000; ++i) {
    float const x = static_cast<float>(i) * 0.25f;
    wrong += round_to_integer(x) == std::nearbyint(x) ? 0 : 1;
  }
  Random random(2);
  for (int i = 0; i < 500000; ++i) {
    float const x = static_cast<float>(random.uniform(-4194303.0, 4194303.0));
    wrong += round_to_integer(x) == std::nearbyint(x) ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Counts, IntsAreRefusedBeyondTheirRange) {
  for (std::int64_t const fits : {std::int64_t{INT32_MIN}, std::int64_t{-1}, std::int64_t{0}, std::int64_t{INT32_MAX}}) {
    EXPECT_EQ(checked_int(fits), fits);
  }
  EXPECT_THROW(checked_int(std::int64_t{INT32_MAX} + 1), std::length_error);
  EXPECT_THROW(checked_int(std::int64_t{INT32_MIN} - 1), std::length_error);
  EXPECT_THROW(checked_int(std::uint64_t{UINT64_MAX}), std::length_error);
  EXPECT_EQ(checked_int(-2147483648.9), INT32_MIN);
  EXPECT_EQ(checked_int(2147483647.9), INT32_MAX);
  for (double const beyond : {2147483648.0, -2147483649.0, infinity, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(checked_int(beyond), std::length_error) << beyond;
  }
  EXPECT_EQ(int_size(std::vector<char>(300)), 300);
}

TEST(Counts, SharesOfSumsTakeWhatIsAtMostThem) {
  for (std::int64_t const sum : {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, std::int64_t{1} << 40, std::int64_t{1} << 60}) {
    for (double const more : {0.0, 0.5, 3e9}) {
      for (double const share : {0.0, 0.25, 0.3, 0.999, 1.0}) {
        double const most = static_cast<double>(share_of_sums(share, sum, more)), target = share * (static_cast<double>(sum) + more);
        EXPECT_LE(most, target) << share << " of " << sum << " and " << more;
        EXPECT_TRUE(most + 1.0 > target || target >= 0x1p53) << share << " of " << sum << " and " << more;
      }
    }
  }
  EXPECT_EQ(share_of_sums(0.5, 1, INFINITY), std::int64_t{1} << 62);
}

}  // namespace
}  // namespace asymptop
