// Correct rounding of fp64 numbers to narrower formats: to nearest, ties to even, subnormal numbers included.
//
// One step from fp64, so nothing is rounded twice. Branch-free fp64 and 64-bit integer arithmetic, which compilers vectorise. What is
// rounded after an operation on numbers of the same format (at most 24 bits) is the correctly rounded result of that operation too:
// 53 >= 2 * 24 + 2 bits make the rounding to fp64 in between harmless (Figueroa, SIGNUM Newsletter 30 (1995) 21).
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "enum_array.hpp"
#include "math.hpp"

namespace asymptop {

/// fp8 is the E4M3 of the OCP 8-bit floating point specification 1.0: no infinities, largest 448. Its two conversions differ in what is
/// too large; this is the saturating one, +-448, which conversion instructions have. The others overflow to infinity, as IEEE 754 wants.
enum class NumberFormat { fp64, fp32, bf16, fp16, fp8 };
inline constexpr std::array all_number_formats = {NumberFormat::fp64, NumberFormat::fp32, NumberFormat::bf16, NumberFormat::fp16,
                                                  NumberFormat::fp8};

constexpr char const* name_of(NumberFormat format) {
  constexpr EnumArray<NumberFormat, char const*, 5> names = {{"fp64", "fp32", "bf16", "fp16", "fp8"}};
  return names[format];
}

/// What a format can hold: significands of `precision` bits (the leading one counted), normal numbers from 2^lowest_exponent.
struct FormatLimits {
  int precision;
  int lowest_exponent;
  int highest_exponent;  ///< largest < 2^(highest_exponent + 1)
  double largest;
  bool saturates;
};

constexpr FormatLimits limits_of(NumberFormat format) {
  constexpr EnumArray<NumberFormat, FormatLimits, 5> limits = {{{{53, -1022, 1023, std::numeric_limits<double>::max(), false},
                                                                 {24, -126, 127, 0x1.fffffep127, false},
                                                                 {8, -126, 127, 0x1.fep127, false},
                                                                 {11, -14, 15, 65504.0, false},
                                                                 {4, -6, 8, 448.0, true}}}};
  return limits[format];
}

/// Whether every number of `inner` is one of `outer`.
constexpr bool holds(NumberFormat outer, NumberFormat inner) {
  auto const a = limits_of(outer), b = limits_of(inner);
  return a.precision >= b.precision && a.largest >= b.largest && a.lowest_exponent - a.precision <= b.lowest_exponent - b.precision;
}

/// The narrowest format that holds the numbers of both.
constexpr NumberFormat wider_of(NumberFormat a, NumberFormat b) {
  if (holds(a, b)) return a;
  if (holds(b, a)) return b;
  return NumberFormat::fp32;  // bf16 and fp16
}

/// Where numbers of at most 24 bits are added up in one binade of a narrow format: x + power - power is x rounded to the format's last
/// place there, so power + sum can take one rounded addend after another. `end`: power and the first number beyond the binade, or beyond
/// the format.
struct Binade {
  double power, end;
};

/// Rounds to a format. x is added to a power of two whose last place is that of the result, and taken out again: the addition rounds.
class Rounding {
 public:
  explicit constexpr Rounding(NumberFormat format) {
    if (format == NumberFormat::fp64) return;
    auto const limits = limits_of(format);
    step_ = std::int64_t{53 - limits.precision} << 52;
    lowest_ = std::int64_t{limits.lowest_exponent + 1023} << 52;
    exponent_bits_ = 0x7ff0000000000000;
    largest_ = limits.largest;
    beyond_ = limits.saturates ? limits.largest : std::numeric_limits<double>::infinity();
    // Anything from here on is too large; an exponent with the step added stays in range.
    cap_ = 4.0;
    for (int i = 0; i < limits.highest_exponent; ++i) cap_ *= 2.0;
  }

  /// NaN stays NaN, and -0 stays -0.
  KOKKOS_FORCEINLINE_FUNCTION double operator()(double x) const {
    auto const bits = bit_cast<std::int64_t>(x);
    auto const sign = bits & std::numeric_limits<std::int64_t>::min();
    return bit_cast<double>(bit_cast<std::int64_t>(of_magnitude(bit_cast<double>(bits ^ sign))) | sign);
  }

  /// The same for x >= 0.
  KOKKOS_FORCEINLINE_FUNCTION double of_magnitude(double x) const {
    double const capped = x > cap_ ? cap_ : x;
    auto exponent = bit_cast<std::int64_t>(capped) & exponent_bits_;
    exponent = exponent < lowest_ ? lowest_ : exponent;
    double const power = bit_cast<double>(exponent + step_);  // 0 for fp64
    double const y = (capped + power) - power;
    return y > largest_ ? beyond_ : y;
  }

  /// Whether the format is narrower than fp64.
  bool narrow() const { return step_ != 0; }
  bool too_large(double x) const { return x > largest_; }

  /// The binade of x, a number of a narrow format from 0 to the largest. That of all subnormal numbers is the lowest normal one.
  Binade binade_of(double x) const {
    auto exponent = bit_cast<std::int64_t>(x) & exponent_bits_;
    exponent = exponent < lowest_ ? lowest_ : exponent;
    double const power = bit_cast<double>(exponent + step_), next = 2.0 * bit_cast<double>(exponent);
    double const last_place = std::numeric_limits<double>::epsilon() * power;
    return {power, power + (next > largest_ ? largest_ + last_place : next)};
  }

 private:
  // fp64: nothing changes.
  std::uint64_t step_ = 0;
  std::int64_t lowest_ = 0, exponent_bits_ = 0;
  double largest_ = std::numeric_limits<double>::infinity(), beyond_ = std::numeric_limits<double>::infinity(),
         cap_ = std::numeric_limits<double>::infinity();
};

}  // namespace asymptop
