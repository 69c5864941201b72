// Binned score moments: the softmax profile of a row for every scale of the logits at once.
//
// Scores of one row are counted in bins of equal width w (a power of two, so that bin centres and residuals are exact in
// fp32). A bin keeps its count, sum r and sum r^2, where r = score / w - bin number lies in [-1/2, 1/2]. Then
//   sum over a bin of e^{sigma s} = e^{sigma w b} sum e^{c r},  c = sigma w,
// and e^{c r} = a0 + a1 c r + a2 (c r)^2 + error, with the Chebyshev-economised coefficients below:
//   |error| <= (c/2)^3 / 24 (1 + c) relative, 1.7e-7 at c = 1/32 and 1.3e-6 at c = 1/16 (sums of squares).
// r is kept to 2^-14 and r^2 to 2^-9, so that count and moments of up to 2^14 - 1 scores travel in one 64-bit word: one addition per
// score. Rounding adds at most c 2^-15 + c^2 2^-11 relative: 1.6e-6 in all at c = 1/32, 5.2e-6 at 1/16, for scores that all lie
// alike in their bins; it averages out for others.
// Three facts make this the profile that Asymptop wants:
//   - one pass serves every sigma law, because the bins do not know sigma;
//   - moments are integers (fixed point), so sums are exact: neither ranks, threads nor the order of blocks can
//     change a bit of them, and subtracting the head's members leaves exactly the tail;
//   - cumulative bins bracket any quantile or threshold.
#pragma once

#include <cmath>
#include <cstdint>

#include "../core/candidate.hpp"
#include "../core/counts.hpp"
#include "../core/fixed_point.hpp"
#include "../core/math.hpp"
#include "../core/types.hpp"

namespace asymptop {

/// Equal bins of width 1 / bins_per_unit. Row i's bin numbers run from first_bin(i); the outermost two stay empty unless
/// a score left the range that the row's bound allows (a case with such a score is INVALID).
struct BinGrid {
  float bins_per_unit = 32.0f;  ///< a power of two
  int count = 0;                ///< bins per row
};

/// Fixed-point units of r and r^2.
inline constexpr float first_scale = 16384.0f, second_scale = 512.0f;

/// What binning costs a sum of e^{sigma s} at c = sigma w, relative: the bound at the top of this file.
inline double bin_error(double c) { return c * c * c / 192.0 * (1.0 + c) + c * 0x1p-15 + c * c * 0x1p-11; }

/// Integer moments of the scores in a bin: exact, whatever the order of summation. Up to 2^48 scores per bin.
struct BinMoments {
  std::int64_t count = 0;
  std::int64_t first = 0;   ///< sum of round(r * 2^14)
  std::int64_t second = 0;  ///< sum of round(r^2 * 2^9)
  double sum_r() const { return from_fixed(first, first_scale); }
  double sum_r2() const { return from_fixed(second, second_scale); }
};

/// Where one score falls.
struct BinnedScore {
  int bin;          ///< relative to the row's first bin, clamped to the grid
  std::int32_t r;   ///< r * 2^14
  std::int32_t r2;  ///< r^2 * 2^9
};

/// bin_score in pieces: gcc vectorises plain numbers, but not a struct that is returned.
KOKKOS_FORCEINLINE_FUNCTION void bin_score(float score, float bins_per_unit, int first_bin, int last_bin, int& bin, std::int32_t& r,
                                           std::int32_t& r2) {
  // Clamped before it is rounded: whatever lies outside (NaN with it) counts as the middle of an outermost bin.
  float const low = static_cast<float>(first_bin), high = static_cast<float>(first_bin + last_bin);
  float scaled = score * bins_per_unit;
  scaled = scaled > low ? scaled : low;
  scaled = scaled < high ? scaled : high;
  float const nearest = round_to_integer(scaled);
  float const residual = scaled - nearest;
  bin = static_cast<int>(nearest) - first_bin;
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
  constexpr float magic = 12582912.0f;
  r = bit_cast<std::int32_t>(residual * first_scale + magic) - bit_cast<std::int32_t>(magic);
  r2 = bit_cast<std::int32_t>(residual * residual * second_scale + magic) - bit_cast<std::int32_t>(magic);
}

KOKKOS_FORCEINLINE_FUNCTION BinnedScore bin_score(float score, BinGrid const& grid, int first_bin) {
  BinnedScore binned{};
  bin_score(score, grid.bins_per_unit, first_bin, grid.count - 1, binned.bin, binned.r, binned.r2);
  return binned;
}

/// During a pass a bin is one word: count * 2^49 + sum of (r + 2^13) * 2^21 + sum of r^2. Good for 2^14 - 1 scores between flushes.
using PackedMoments = std::uint64_t;
inline constexpr int packed_count_shift = 49, packed_first_shift = 21;
inline constexpr std::int32_t packed_bias = 1 << 13;
inline constexpr GlobalIndex packed_limit = (GlobalIndex{1} << 14) - 1;

KOKKOS_FORCEINLINE_FUNCTION PackedMoments pack_moments(std::int32_t r, std::int32_t r2) {
  // In two halves of 32 bits, which vectorise well; the first moment lies astride them.
  std::uint32_t const biased = r + packed_bias;
  std::uint32_t const low = r2 + (biased << packed_first_shift);
  std::uint32_t const high = (1u << (packed_count_shift - 32)) + (biased >> (32 - packed_first_shift));
  return (std::uint64_t{high} << 32) | low;
}

KOKKOS_FORCEINLINE_FUNCTION BinMoments unpack_moments(PackedMoments const p) {
  std::int64_t const count = p >> packed_count_shift;
  std::int64_t const biased = (p >> packed_first_shift) & ((std::uint64_t{1} << (packed_count_shift - packed_first_shift)) - 1);
  std::int64_t const second = p & ((std::uint64_t{1} << packed_first_shift) - 1);
  return {count, biased - count * packed_bias, second};
}

/// Sums of e^y, e^{2y} and y e^y, with y = sigma * (s - reference).
struct ExponentialSums {
  double z1 = 0.0;
  double z2 = 0.0;
  double h = 0.0;
  void add(ExponentialSums const& other) {
    z1 += other.z1;
    z2 += other.z2;
    h += other.h;
  }
};

/// sum e^{c r} and sum r e^{c r} over a bin, from its moments.
struct BinExponentials {
  double e0;
  double e1;
};

inline BinExponentials bin_exponentials(BinMoments const& bin, double c) {
  double const n = exact_double(bin.count), m1 = bin.sum_r(), m2 = bin.sum_r2();
  double const h2 = c * c / 4.0;
  double const e0 = n * (1.0 - h2 * h2 / 192.0) + c * m1 * (1.0 + h2 / 8.0) + c * c * m2 * (0.5 + h2 / 24.0);
  double const e1 = m1 * (1.0 + c * c * 3.0 / 32.0) + c * m2;  // r^3 economised to 3/16 r
  return {e0, e1};
}

/// Sums over one bin; `centre` is the bin's score centre minus the reference score.
inline ExponentialSums bin_sums(BinMoments const& bin, double sigma, double width, double centre) {
  if (bin.count == 0) return {};
  double const c = sigma * width, y = sigma * centre;
  double const weight = std::exp(y);
  auto const once = bin_exponentials(bin, c);
  auto const twice = bin_exponentials(bin, 2.0 * c);
  return {weight * once.e0, weight * weight * twice.e0, weight * (y * once.e0 + c * once.e1)};
}

}  // namespace asymptop
