// Rounding to narrow formats: every number of the 8- and 16-bit ones, every midpoint and its neighbours, against tables decoded from
// their bits and against the compiler's conversions; sums in every order against their definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/core/rounded_sum.hpp"
#include "kernels/core/rounding.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// The numbers of a format from 0 up to the largest, the place of each being its code: exponent and mantissa as stored.
std::vector<double> decoded(int exponent_bits, int mantissa_bits, int codes) {
  std::vector<double> values;
  int const bias = (1 << (exponent_bits - 1)) - 1;
  for (int code = 0; code < codes; ++code) {
    int const exponent = code >> mantissa_bits, mantissa = code & ((1 << mantissa_bits) - 1);
    values.push_back(exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                                   : std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits));
  }
  return values;
}

std::vector<double> numbers_of(NumberFormat format) {
  if (format == NumberFormat::bf16) return decoded(8, 7, 0x7f80);
  if (format == NumberFormat::fp16) return decoded(5, 10, 0x7c00);
  return decoded(4, 3, 0x7f);  // fp8: the last code is NaN
}

/// Looked up: the nearest number, of two the one with an even code.
double looked_up(std::vector<double> const& numbers, double x, double beyond) {
  if (std::isnan(x)) return x;
  double const magnitude = std::fabs(x);
  auto const after = std::upper_bound(numbers.begin(), numbers.end(), magnitude);
  auto const code = after - numbers.begin() - 1;
  double const low = numbers[static_cast<std::size_t>(code)];
  // Past the largest, the next one would be where the last step leads.
  double const high = after != numbers.end() ? *after : low + (low - numbers[numbers.size() - 2]);
  double const middle = low / 2.0 + high / 2.0;
  bool const up = magnitude > middle || (magnitude == middle && code % 2 == 1);
  return std::copysign(!up ? low : after != numbers.end() ? high : beyond, x);
}

void expect_same(double value, double reference, double x) {
  if (std::isnan(reference)) {
    EXPECT_TRUE(std::isnan(value)) << x;
  } else {
    EXPECT_EQ(bit_cast<std::uint64_t>(value), bit_cast<std::uint64_t>(reference))
        << std::hexfloat << x << ": " << value << " " << reference;
  }
}

class NarrowFormat : public ::testing::TestWithParam<NumberFormat> {};

TEST_P(NarrowFormat, EveryNumberMidpointAndNeighbour) {
  auto const format = GetParam();
  auto const numbers = numbers_of(format);
  auto const limits = limits_of(format);
  double const beyond = limits.saturates ? limits.largest : infinity;
  ASSERT_EQ(numbers.back(), limits.largest);
  Rounding const round(format);
  Random random(1);
  auto const visit = [&](double x) {
    expect_same(round(x), looked_up(numbers, x, beyond), x);
    expect_same(round(-x), looked_up(numbers, -x, beyond), -x);
    expect_same(round.of_magnitude(x), looked_up(numbers, x, beyond), x);
  };
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    double const low = numbers[i], high = i + 1 < numbers.size() ? numbers[i + 1] : low + (low - numbers[i - 1]);
    ASSERT_EQ(round(low), low);
    double const middle = low / 2.0 + high / 2.0;
    for (double const x : {low, middle}) {
      visit(x);
      visit(std::nextafter(x, infinity));
      if (x > 0.0) visit(std::nextafter(x, 0.0));
    }
    visit(random.uniform(low, high));
  }
  for (double const x : {0.0, limits.largest * 1.01, limits.largest * 2.0, 1e300, infinity, std::numeric_limits<double>::quiet_NaN(),
                         std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::min(), 1e-300})
    visit(x);
  for (int i = 0; i < 200000; ++i) visit(std::ldexp(random.uniform(0.5, 1.0), static_cast<int>(random.integer(-160, 140))));
}

INSTANTIATE_TEST_SUITE_P(Formats, NarrowFormat, ::testing::Values(NumberFormat::bf16, NumberFormat::fp16, NumberFormat::fp8),
                         [](auto const& info) { return name_of(info.param); });

TEST(Rounding, Fp32IsTheCompilersConversion) {
  Rounding const round(NumberFormat::fp32);
  Random random(2);
  auto const visit = [&](double x) { expect_same(round(x), static_cast<double>(static_cast<float>(x)), x); };
  for (int i = 0; i < 1000000; ++i) {
    visit(bit_cast<double>(random.bits()));
    // Numbers of fp32, subnormal ones too, their midpoints and what lies next to them.
    auto const bits = static_cast<std::uint32_t>(random.bits()) & 0x7fffffffu;
    float const low = bit_cast<float>(bits), high = std::nextafter(low, std::numeric_limits<float>::infinity());
    if (!std::isfinite(low)) continue;
    double const middle = std::isfinite(high) ? (static_cast<double>(low) + static_cast<double>(high)) / 2.0 : 0x1.ffffffp127;
    for (double const x : {static_cast<double>(low), middle, std::nextafter(middle, infinity), std::nextafter(middle, 0.0)}) {
      visit(x);
      visit(-x);
    }
  }
}

#if defined(__FLT16_MANT_DIG__)
TEST(Rounding, Fp16IsTheCompilersConversion) {
  Rounding const round(NumberFormat::fp16);
  Random random(3);
  for (int i = 0; i < 300000; ++i) {
    double const x = std::ldexp(random.uniform(-1.0, 1.0), static_cast<int>(random.integer(-27, 18)));
    expect_same(round(x), static_cast<double>(static_cast<_Float16>(x)), x);
  }
}
#endif

TEST(Rounding, NothingIsRoundedTwice) {
  // By way of fp32 this becomes a midpoint, and 1.
  double const x = 1.0 + std::ldexp(1.0, -8) + std::ldexp(1.0, -30);
  EXPECT_EQ(Rounding(NumberFormat::bf16)(static_cast<double>(static_cast<float>(x))), 1.0);
  EXPECT_EQ(Rounding(NumberFormat::bf16)(x), 1.0 + std::ldexp(1.0, -7));
}

TEST(Rounding, Fp64ChangesNothing) {
  Rounding const round(NumberFormat::fp64);
  Random random(4);
  for (int i = 0; i < 100000; ++i) {
    double const x = bit_cast<double>(random.bits());
    expect_same(round(x), x, x);
  }
}

TEST(Rounding, WiderOfTwoFormats) {
  using enum NumberFormat;
  for (auto const format : all_number_formats) {
    EXPECT_EQ(wider_of(format, format), format);
    EXPECT_EQ(wider_of(format, fp64), fp64);
    EXPECT_EQ(wider_of(fp8, format), format);
    EXPECT_EQ(wider_of(format, fp32), format == fp64 ? fp64 : fp32);
  }
  EXPECT_EQ(wider_of(bf16, fp16), fp32);
  EXPECT_EQ(wider_of(fp16, bf16), fp32);
}

/// As a person would: the significand scaled to an integer, rounded, scaled back.
double nearest(long double x, NumberFormat format) {
  auto const limits = limits_of(format);
  if (x == 0.0L) return 0.0;
  if (!std::isfinite(x)) return static_cast<double>(x);
  int exponent = 0;
  std::frexp(x, &exponent);
  int const last_place = std::max(exponent - 1, limits.lowest_exponent) - (limits.precision - 1);
  auto const y = static_cast<double>(std::ldexp(std::nearbyint(std::ldexp(x, -last_place)), last_place));
  return y > limits.largest ? (limits.saturates ? limits.largest : infinity) : y;
}

/// A sum of 64 bits serves the narrow formats: rounding twice is harmless there.
double added(double a, double b, NumberFormat format) {
  if (format == NumberFormat::fp64) return a + b;
  return nearest(static_cast<long double>(a) + static_cast<long double>(b), format);
}

double sequential_reference(std::vector<double> const& x, NumberFormat format) {
  double sum = 0.0;
  for (double const value : x) sum = added(sum, nearest(value, format), format);
  return sum;
}

double pairwise_reference(std::vector<double> x, NumberFormat format) {
  for (auto& value : x) value = nearest(value, format);
  while (x.size() > 1) {
    std::vector<double> next;
    for (std::size_t i = 0; i + 1 < x.size(); i += 2) next.push_back(added(x[i], x[i + 1], format));
    if (x.size() % 2 == 1) next.push_back(x.back());
    x = next;
  }
  return x[0];
}

double blocked_reference(std::vector<double> const& x, std::size_t block, NumberFormat format) {
  std::vector<double> sums;
  for (std::size_t begin = 0; begin < x.size(); begin += block) {
    auto const first = x.begin() + static_cast<std::ptrdiff_t>(begin);
    sums.push_back(sequential_reference({first, first + static_cast<std::ptrdiff_t>(std::min(block, x.size() - begin))}, format));
  }
  return pairwise_reference(sums, format);
}

class EveryFormat : public ::testing::TestWithParam<NumberFormat> {};

TEST_P(EveryFormat, SumsAreTheirDefinitions) {
  auto const format = GetParam();
  Rounding const round(format);
  Random random(5);
  for (int trial = 0; trial < 300; ++trial) {
    auto const n = static_cast<std::size_t>(random.integer(1, trial % 10 == 0 ? 5000 : 300));
    auto const block = std::int64_t{1} << random.integer(0, 8);
    // Spread over binades: next to nothing, weights, sums that overflow fp16 and fp8, subnormal numbers of fp32.
    double const centre = random.uniform(-20.0, 12.0) - (trial % 7 == 0 ? 125.0 : 0.0), spread = random.uniform(0.0, 8.0);
    std::vector<double> x;
    for (std::size_t i = 0; i < n; ++i) x.push_back(std::exp2(centre + spread * random.normal()));
    for (auto& value : x) value = random.integer(0, 9) == 0 ? 0.0 : trial % 3 == 0 ? nearest(value, NumberFormat::fp8) : value;
    auto const count = static_cast<std::int64_t>(n);
    auto const term = [&](std::int64_t i) { return x[static_cast<std::size_t>(i)]; };
    expect_same(rounded_sum(count, term, round, SumOrder::sequential, block), sequential_reference(x, format), 0.0);
    expect_same(rounded_sum(count, term, round, SumOrder::pairwise, block), pairwise_reference(x, format), 0.0);
    expect_same(rounded_sum(count, term, round, SumOrder::blocked, block), blocked_reference(x, static_cast<std::size_t>(block), format),
                0.0);
  }
}

/// x added again and again: nothing is added any more once x is half a last place or less of an even sum, which is at the first power
/// of two from 2^precision x on.
TEST_P(EveryFormat, SequentialSumsStopWhereTheLastPlaceIsTwiceTheAddend) {
  auto const limits = limits_of(GetParam());
  if (limits.precision > 12) return;  // 2^24 additions and more
  Rounding const round(GetParam());
  for (double const x : {1.0, 0.75, 0.5, 0.8125, 0.015625}) {
    double const stop = std::exp2(std::ceil(std::log2(x)) + limits.precision);
    auto const n = static_cast<std::int64_t>(4.0 * stop / x);
    auto const constant = [x](std::int64_t) { return x; };
    EXPECT_EQ(rounded_sum(n, constant, round, SumOrder::sequential, 128), stop) << x;
    EXPECT_EQ(rounded_sum(16 * n, constant, round, SumOrder::sequential, 128), stop) << x;
    // Pairs of equal sums lose nothing.
    EXPECT_EQ(rounded_sum(256, constant, round, SumOrder::pairwise, 128), 256.0 * x);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat, ::testing::ValuesIn(all_number_formats),
                         [](auto const& info) { return name_of(info.param); });

TEST(RoundedSum, InfinityAndNaNStay) {
  Rounding const round(NumberFormat::bf16);
  for (double const odd : {infinity, std::numeric_limits<double>::quiet_NaN()}) {
    std::vector<double> x(300, 1.0);
    x[100] = odd;
    for (auto const order : all_sum_orders) {
      double const sum = rounded_sum(
          300, [&](std::int64_t i) { return x[static_cast<std::size_t>(i)]; }, round, order, 64);
      EXPECT_FALSE(std::isfinite(sum)) << name_of(order);
      EXPECT_EQ(std::isnan(sum), std::isnan(odd)) << name_of(order);
    }
  }
}

}  // namespace
}  // namespace asymptop
