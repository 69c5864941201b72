// Elementary functions that compilers vectorise: branch-free, fp32 or fp64, usable on host and device.
//
// The C library's expf and logf are calls that stop a loop from being vectorised unless -ffast-math is given, and
// -ffast-math would let the compiler forget the infinities that mask rows. Coefficients: Cephes (Moshier), public domain
// minimax polynomials; errors are tested in tests/kernels/test_math.cpp.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <cstring>

namespace asymptop {

template <class To, class From>
KOKKOS_FORCEINLINE_FUNCTION To bit_cast(From const& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

/// The nearest fp32 number.
KOKKOS_FORCEINLINE_FUNCTION float to_fp32(double x) { return static_cast<float>(x); }

/// a * b + c, rounded once on targets with fused multiply-adds and twice elsewhere: written out, because compilers, and one compiler for
/// vectors of several widths, differ in what they contract.
KOKKOS_FORCEINLINE_FUNCTION float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__) || defined(__FP_FAST_FMAF)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
KOKKOS_FORCEINLINE_FUNCTION double multiply_add(double a, double b, double c) {
#if defined(__CUDA_ARCH__) || defined(__FP_FAST_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// Nearest integer of |x| < 2^22 as a float, ties to even (adding 1.5 * 2^23 drops the fraction bits).
KOKKOS_FORCEINLINE_FUNCTION float round_to_integer(float x) {
  constexpr float magic = 12582912.0f;
  return (x + magic) - magic;
}

/// The halves of a 64-bit word.
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t high_word(std::uint64_t x) { return low_word(x >> 32); }

/// exp(x) for x <= 88, relative error below 2e-7; below -87 the result is 0.
KOKKOS_FORCEINLINE_FUNCTION float exp_fp32(float x) {
  float const clamped = x < -87.0f ? -87.0f : x;
  constexpr float magic = 12582912.0f;  // as in round_to_integer
  float const k = multiply_add(clamped, 1.44269504088896341f, magic) - magic;
  float r = multiply_add(-k, 0.693359375f, clamped);
  r = multiply_add(k, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = multiply_add(p, r, 1.3981999507e-3f);
  p = multiply_add(p, r, 8.3334519073e-3f);
  p = multiply_add(p, r, 4.1665795894e-2f);
  p = multiply_add(p, r, 1.6666665459e-1f);
  p = multiply_add(p, r, 5.0000001201e-1f);
  p = multiply_add(p * r, r, r) + 1.0f;
  auto const power = bit_cast<float>((static_cast<std::int32_t>(k) + 127) << 23);
  float const y = p * power;
  return x < -87.0f ? 0.0f : y;
}

/// exp(x) for x <= 700 in fp64, relative error below 1e-15; below -700 the result is 0.
KOKKOS_FORCEINLINE_FUNCTION double exp_fp64(double x) {
  double const clamped = x < -700.0 ? -700.0 : x;
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: the low bits of the sum hold the integer
  double const shifted = multiply_add(clamped, 1.4426950408889634074, magic);
  double const k = shifted - magic;
  double r = multiply_add(-k, 6.93145751953125e-1, clamped);
  r = multiply_add(-k, 1.42860682030941723212e-6, r);
  double p = 1.6059043836821614599e-10;
  p = multiply_add(p, r, 2.0876756987868098979e-9);
  p = multiply_add(p, r, 2.5052108385441718775e-8);
  p = multiply_add(p, r, 2.7557319223985890653e-7);
  p = multiply_add(p, r, 2.7557319223985890653e-6);
  p = multiply_add(p, r, 2.4801587301587301587e-5);
  p = multiply_add(p, r, 1.9841269841269841270e-4);
  p = multiply_add(p, r, 1.3888888888888888889e-3);
  p = multiply_add(p, r, 8.3333333333333333333e-3);
  p = multiply_add(p, r, 4.1666666666666666667e-2);
  p = multiply_add(p, r, 1.6666666666666666667e-1);
  p = multiply_add(p, r, 0.5);
  p = multiply_add(p * r, r, r) + 1.0;
  auto const bits = bit_cast<std::int64_t>(shifted) << 52;  // the integer's low 12 bits, moved to the exponent
  auto const y = bit_cast<double>(bit_cast<std::int64_t>(p) + bits);
  return x < -700.0 ? 0.0 : y;
}

/// log(x) of a positive normal fp64 number, relative error below 1e-15 of max(|log x|, 2^-53).
KOKKOS_FORCEINLINE_FUNCTION double log_fp64(double x) {
  auto bits = bit_cast<std::int64_t>(x);
  // Mantissa in [sqrt(1/2), sqrt(2)): the offset makes the exponent change at sqrt(1/2).
  std::int64_t const shifted = bits - 0x3fe6a09e667f3bcd;
  std::int64_t const exponent = shifted >> 52;
  bits = (shifted & 0x000fffffffffffff) + 0x3fe6a09e667f3bcd;
  double const f = bit_cast<double>(bits) - 1.0;
  double const z = f * f;
  double p = 1.01875663804580931796e-4;
  p = multiply_add(p, f, 4.97494994976747001425e-1);
  p = multiply_add(p, f, 4.70579119878881725854);
  p = multiply_add(p, f, 1.44989225341610930846e1);
  p = multiply_add(p, f, 1.79368678507819816313e1);
  p = multiply_add(p, f, 7.70838733755885391666);
  double q = f + 1.12873587189167450590e1;
  q = multiply_add(q, f, 4.52279145837532221105e1);
  q = multiply_add(q, f, 8.29875266912776603211e1);
  q = multiply_add(q, f, 7.11544750618563894466e1);
  q = multiply_add(q, f, 2.31251620126765340583e1);
  double const e = static_cast<double>(exponent);
  double y = multiply_add(f, z * p / q, -2.121944400546905827679e-4 * e);
  y = multiply_add(-0.5, z, y);
  return multiply_add(0.693359375, e, f + y);
}

}  // namespace asymptop
