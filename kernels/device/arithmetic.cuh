// Elementary functions of the fused host path, operation by operation: core/math.hpp and score/softcap.hpp as they are on a host with
// fused multiply-adds, with nothing left to the compiler to contract. Results have the host's bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace asymptop::device {

/// exp_fp32 of core/math.hpp.
__device__ inline float exp_as_host(float x) {
  constexpr float magic = 12582912.0f;
  float const clamped = x < -87.0f ? -87.0f : x;
  float const k = __fsub_rn(__fmaf_rn(clamped, 1.44269504088896341f, magic), magic);
  float r = __fmaf_rn(-k, 0.693359375f, clamped);
  r = __fmaf_rn(k, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = __fmaf_rn(p, r, 1.3981999507e-3f);
  p = __fmaf_rn(p, r, 8.3334519073e-3f);
  p = __fmaf_rn(p, r, 4.1665795894e-2f);
  p = __fmaf_rn(p, r, 1.6666665459e-1f);
  p = __fmaf_rn(p, r, 5.0000001201e-1f);
  p = __fadd_rn(__fmaf_rn(__fmul_rn(p, r), r, r), 1.0f);
  float const y = __fmul_rn(p, __int_as_float((static_cast<int>(k) + 127) << 23));
  return x < -87.0f ? 0.0f : y;
}

/// exp_fp64 of core/math.hpp.
__device__ inline double exp_as_host(double x) {
  constexpr double magic = 6755399441055744.0;
  double const clamped = x < -700.0 ? -700.0 : x;
  double const shifted = __fma_rn(clamped, 1.4426950408889634074, magic);
  double const k = __dsub_rn(shifted, magic);
  double r = __fma_rn(-k, 6.93145751953125e-1, clamped);
  r = __fma_rn(-k, 1.42860682030941723212e-6, r);
  double p = 1.6059043836821614599e-10;
  p = __fma_rn(p, r, 2.0876756987868098979e-9);
  p = __fma_rn(p, r, 2.5052108385441718775e-8);
  p = __fma_rn(p, r, 2.7557319223985890653e-7);
  p = __fma_rn(p, r, 2.7557319223985890653e-6);
  p = __fma_rn(p, r, 2.4801587301587301587e-5);
  p = __fma_rn(p, r, 1.9841269841269841270e-4);
  p = __fma_rn(p, r, 1.3888888888888888889e-3);
  p = __fma_rn(p, r, 8.3333333333333333333e-3);
  p = __fma_rn(p, r, 4.1666666666666666667e-2);
  p = __fma_rn(p, r, 1.6666666666666666667e-1);
  p = __fma_rn(p, r, 0.5);
  p = __dadd_rn(__fma_rn(__dmul_rn(p, r), r, r), 1.0);
  auto const bits = static_cast<unsigned long long>(__double_as_longlong(shifted)) << 52;
  double const y = __longlong_as_double(static_cast<long long>(static_cast<unsigned long long>(__double_as_longlong(p)) + bits));
  return x < -700.0 ? 0.0 : y;
}

/// A score under a softcap, as cap_strip of score/softcap.hpp; the score itself where cap is 0.
__device__ inline float softcapped(float score, double cap) {
  if (!(cap > 0.0)) return score;
  double const s = score, size = s < 0.0 ? -s : s, t = exp_as_host(-2.0 * __ddiv_rn(size, cap));
  double const capped = __dmul_rn(cap, __ddiv_rn(__dsub_rn(1.0, t), __dadd_rn(1.0, t)));
  return __double2float_rn(s < 0.0 ? -capped : capped);
}

/// to_fixed of core/fixed_point.hpp; factor: a power of two.
__device__ inline long long fixed_of(double x, double factor) {
  double const scaled = __dmul_rn(x, factor);
  return __double2ll_rz(scaled >= 0.0 ? __dadd_rn(scaled, 0.5) : __dsub_rn(scaled, 0.5));
}

/// Where bin_score of profile/score_bins.hpp puts a score, and its moments.
struct DeviceBin {
  int bin, r, r2;
};
__device__ inline DeviceBin bin_of(float score, float bins_per_unit, int first_bin, int bins) {
  float const low = static_cast<float>(first_bin), high = static_cast<float>(first_bin + bins - 1);
  float scaled = __fmul_rn(score, bins_per_unit);
  scaled = scaled > low ? scaled : low;
  scaled = scaled < high ? scaled : high;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  constexpr float magic = 12582912.0f;
  constexpr int magic_bits = 0x4b400000;
  float const shifted = __fadd_rn(scaled, magic), residual = __fsub_rn(scaled, __fsub_rn(shifted, magic));
  return {__float_as_int(shifted) - (magic_bits + first_bin), __float_as_int(__fmaf_rn(residual, 16384.0f, magic)) - magic_bits,
          __float_as_int(__fmaf_rn(__fmul_rn(residual, residual), 512.0f, magic)) - magic_bits};
}

}  // namespace asymptop::device
