// Lanes of the random number generator: fp32 numbers, 32-bit words and the 64-bit products of words, at the width of the target.
//
// Host only. The arithmetic of a lane is the same at every width; multiply_add() is one rounding where the target has FMA and two where
// it has not. ASYMPTOP_SIMD_PLAIN forces the narrow portable form, for tests. All that depends on the width lies in an inline namespace
// named after it, so that object files of different targets may be linked together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../core/math.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if !defined(ASYMPTOP_SIMD_PLAIN)
#if defined(__AVX512F__)
#define ASYMPTOP_LANES_AVX512
#define ASYMPTOP_LANES_NAME lanes_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define ASYMPTOP_LANES_AVX2
#define ASYMPTOP_LANES_NAME lanes_avx2
#endif
#endif
#if !defined(ASYMPTOP_LANES_NAME)
#define ASYMPTOP_LANES_NAME lanes_plain
#endif
#define ASYMPTOP_LANES_INLINE [[gnu::always_inline]] inline
// Before loops over vectors in registers, which have to vanish.
#define ASYMPTOP_LANES_PRAGMA(text) _Pragma(#text)
#define ASYMPTOP_LANES_UNROLL(times) ASYMPTOP_LANES_PRAGMA(GCC unroll times)

namespace asymptop {

KOKKOS_FORCEINLINE_FUNCTION float square_root(float x) { return sqrtf(x); }
/// The word as a signed integer, rounded to nearest.
KOKKOS_FORCEINLINE_FUNCTION float signed_float(std::uint32_t w) { return static_cast<float>(static_cast<std::int32_t>(w)); }
/// `yes` where bit `bit` of the word is set, `no` elsewhere.
template <int bit>
KOKKOS_FORCEINLINE_FUNCTION float select_bit(std::uint32_t w, float yes, float no) {
  return ((w >> bit) & 1u) != 0u ? yes : no;
}
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t zero_if_negative(std::uint32_t w, std::uint32_t value) {
  return static_cast<std::int32_t>(w) < 0 ? 0u : value;
}

// nvcc compiles templates of host and device functions for both, and knows no vectors on the device: there only the functions above exist.
#if !defined(__CUDACC__)
inline namespace ASYMPTOP_LANES_NAME {

#if defined(ASYMPTOP_LANES_AVX512)
inline constexpr int lane_count = 16;
#elif defined(ASYMPTOP_LANES_AVX2)
inline constexpr int lane_count = 8;
#else
inline constexpr int lane_count = 4;
#endif

using FloatLanes [[gnu::vector_size(4 * lane_count)]] = float;
using WordLanes [[gnu::vector_size(4 * lane_count)]] = std::uint32_t;
using IntLanes [[gnu::vector_size(4 * lane_count)]] = std::int32_t;
/// Half as many lanes of 64 bits: products of words, or words in the lower halves with anything in the upper ones.
using WideLanes [[gnu::vector_size(4 * lane_count)]] = std::uint64_t;

ASYMPTOP_LANES_INLINE FloatLanes multiply_add(FloatLanes a, FloatLanes b, FloatLanes c) {
#if defined(ASYMPTOP_LANES_AVX512)
  return reinterpret_cast<FloatLanes>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(ASYMPTOP_LANES_AVX2)
  return reinterpret_cast<FloatLanes>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  FloatLanes r{};
  for (int l = 0; l < lane_count; ++l) r[l] = asymptop::multiply_add(a[l], b[l], c[l]);
  return r;
#endif
}

ASYMPTOP_LANES_INLINE FloatLanes square_root(FloatLanes x) {
#if defined(ASYMPTOP_LANES_AVX512)
  return reinterpret_cast<FloatLanes>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(x)));
#elif defined(ASYMPTOP_LANES_AVX2)
  return reinterpret_cast<FloatLanes>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__SSE2__)
  return reinterpret_cast<FloatLanes>(_mm_sqrt_ps(reinterpret_cast<__m128>(x)));
#else
  FloatLanes r{};
  for (int l = 0; l < lane_count; ++l) r[l] = sqrtf(x[l]);
  return r;
#endif
}

ASYMPTOP_LANES_INLINE FloatLanes signed_float(WordLanes w) { return __builtin_convertvector(reinterpret_cast<IntLanes>(w), FloatLanes); }

template <int bit>
ASYMPTOP_LANES_INLINE FloatLanes select_bit(WordLanes w, FloatLanes yes, FloatLanes no) {
#if defined(ASYMPTOP_LANES_AVX512)
  auto const bits = reinterpret_cast<__m512i>(w);
  auto const mask = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(1u << bit));
  return reinterpret_cast<FloatLanes>(_mm512_mask_blend_ps(mask, reinterpret_cast<__m512>(no), reinterpret_cast<__m512>(yes)));
#else
  auto const all = reinterpret_cast<WordLanes>(reinterpret_cast<IntLanes>(w << (31 - bit)) < 0);
  return reinterpret_cast<FloatLanes>((reinterpret_cast<WordLanes>(yes) & all) | (reinterpret_cast<WordLanes>(no) & ~all));
#endif
}

ASYMPTOP_LANES_INLINE WordLanes zero_if_negative(WordLanes w, WordLanes value) {
  return reinterpret_cast<WordLanes>(reinterpret_cast<IntLanes>(w) >= 0) & value;
}

/// The product of the lower halves.
ASYMPTOP_LANES_INLINE WideLanes multiply_words(WideLanes a, WideLanes b) {
#if defined(ASYMPTOP_LANES_AVX512)
  // Not _mm512_mul_epu32: gcc 12 warns of an uninitialised value in its own header (its bug 105593).
  return reinterpret_cast<WideLanes>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(ASYMPTOP_LANES_AVX2)
  return reinterpret_cast<WideLanes>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<WideLanes>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/// Words of the lower halves: those of `even` in even lanes, those of `odd` in odd lanes.
ASYMPTOP_LANES_INLINE WordLanes interleave_lower(WideLanes even, WideLanes odd) {
#if defined(ASYMPTOP_LANES_AVX512)
  return reinterpret_cast<WordLanes>(
      _mm512_mask_shuffle_epi32(reinterpret_cast<__m512i>(even), 0xaaaa, reinterpret_cast<__m512i>(odd), _MM_PERM_CCAA));
#else
  return reinterpret_cast<WordLanes>((even & 0xffffffffu) | (odd << 32));
#endif
}

/// The same of the upper halves.
ASYMPTOP_LANES_INLINE WordLanes interleave_upper(WideLanes even, WideLanes odd) {
#if defined(ASYMPTOP_LANES_AVX512)
  return reinterpret_cast<WordLanes>(
      _mm512_mask_shuffle_epi32(reinterpret_cast<__m512i>(odd), 0x5555, reinterpret_cast<__m512i>(even), _MM_PERM_DDBB));
#else
  return reinterpret_cast<WordLanes>((even >> 32) | (odd & 0xffffffff00000000u));
#endif
}

/// a[0] b[0] a[1] b[1] ... from the first halves of both (`from` = 0) or from the second ones (`from` = lane_count / 2).
template <std::size_t from, std::size_t... lane>
ASYMPTOP_LANES_INLINE FloatLanes interleave(FloatLanes a, FloatLanes b, std::index_sequence<lane...>) {
  return __builtin_shufflevector(a, b, static_cast<int>(from + lane / 2 + lane % 2 * lane_count)...);
}

/// Transposes a square: lane j of row i goes to lane i of row j. Interleaving row i with row i + lane_count / 2 moves the highest bit of
/// the row's number below the lowest of the lane's; after as many rounds as a number has bits, both have changed places.
ASYMPTOP_LANES_INLINE void transpose(FloatLanes (&rows)[lane_count]) {
  using Lanes = std::make_index_sequence<lane_count>;
  ASYMPTOP_LANES_UNROLL(4)
  for (int round = 1; round < lane_count; round *= 2) {
    FloatLanes turned[lane_count];
    ASYMPTOP_LANES_UNROLL(8)
    for (int i = 0; i < lane_count / 2; ++i) {
      turned[2 * i] = interleave<0>(rows[i], rows[i + lane_count / 2], Lanes{});
      turned[2 * i + 1] = interleave<lane_count / 2>(rows[i], rows[i + lane_count / 2], Lanes{});
    }
    ASYMPTOP_LANES_UNROLL(16)
    for (int i = 0; i < lane_count; ++i) rows[i] = turned[i];
  }
}

}  // namespace ASYMPTOP_LANES_NAME
#endif
}  // namespace asymptop
