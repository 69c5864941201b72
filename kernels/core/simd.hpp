// Vectors of fp32 and int32 lanes at the width that the compiler's target allows: AVX-512, AVX2 with FMA, or four plain lanes.
//
// Host only. Lane arithmetic is IEEE, and fma() is a single rounding at every width, so a loop that uses only what is here gives the same
// bits on all of them. ASYMPTOP_SIMD_WIDTH = 16, 8 or 4 forces one, for tests. Everything lies in an inline namespace named after the
// width: object files of different targets may be linked together.
#pragma once

#include <cstdint>
#include <cstring>

#include "processor.hpp"

#if !defined(ASYMPTOP_SIMD_WIDTH)
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define ASYMPTOP_SIMD_WIDTH 16
#elif defined(__AVX2__) && defined(__FMA__)
#define ASYMPTOP_SIMD_WIDTH 8
#else
#define ASYMPTOP_SIMD_WIDTH 4
#endif
#endif

#if ASYMPTOP_SIMD_WIDTH == 16
#include <immintrin.h>
#define ASYMPTOP_SIMD_NAME avx512
#define ASYMPTOP_SIMD_AVX512
#elif ASYMPTOP_SIMD_WIDTH == 8
#include <immintrin.h>
#define ASYMPTOP_SIMD_NAME avx2
#define ASYMPTOP_SIMD_AVX2
#else
#define ASYMPTOP_SIMD_NAME plain
#endif
#define ASYMPTOP_SIMD_INLINE [[gnu::always_inline]] inline

namespace asymptop::simd {
inline namespace ASYMPTOP_SIMD_NAME {

#if defined(ASYMPTOP_SIMD_AVX512)
inline constexpr char const* name = "avx512";
inline constexpr int width = 16;
#elif defined(ASYMPTOP_SIMD_AVX2)
inline constexpr char const* name = "avx2";
inline constexpr int width = 8;
#else
inline constexpr char const* name = "plain";
inline constexpr int width = 4;
#endif

using Floats [[gnu::vector_size(4 * width), gnu::may_alias]] = float;
using Ints [[gnu::vector_size(4 * width), gnu::may_alias]] = std::int32_t;
/// One bit per lane, lane 0 lowest.
using LaneMask = std::uint32_t;
inline constexpr LaneMask all_lanes = (LaneMask{1} << width) - 1u;

/// `lanes` may be 0 to width, or more, which counts as width.
ASYMPTOP_SIMD_INLINE LaneMask first_lanes(std::int64_t lanes) {
  return lanes >= width ? all_lanes : (lanes <= 0 ? LaneMask{0} : (LaneMask{1} << lanes) - 1u);
}

/// Less zero, which changes no number: zero and -0 are not 0 + x, so compilers add them.
ASYMPTOP_SIMD_INLINE Floats broadcast(float x) { return x - Floats{}; }
ASYMPTOP_SIMD_INLINE Ints broadcast(std::int32_t x) { return Ints{} + x; }

/// From and to any address.
ASYMPTOP_SIMD_INLINE Floats load(float const* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
ASYMPTOP_SIMD_INLINE Ints load(std::int32_t const* from) {
  Ints v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
ASYMPTOP_SIMD_INLINE void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }
ASYMPTOP_SIMD_INLINE void store(std::int32_t* to, Ints v) { std::memcpy(to, &v, sizeof v); }

/// The first `lanes` floats from there, then zeros; nothing past them is read.
ASYMPTOP_SIMD_INLINE Floats load_first(float const* from, int lanes) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(first_lanes(lanes)), from));
#else
  alignas(4 * width) float part[width] = {};
  for (int l = 0; l < lanes && l < width; ++l) part[l] = from[l];
  return load(part);
#endif
}

/// a * b + c, rounded once.
ASYMPTOP_SIMD_INLINE Floats fma(Floats a, Floats b, Floats c) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return reinterpret_cast<Floats>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(ASYMPTOP_SIMD_AVX2)
  return reinterpret_cast<Floats>(_mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  Floats r{};
  for (int l = 0; l < width; ++l) r[l] = __builtin_fmaf(a[l], b[l], c[l]);
  return r;
#endif
}

/// Lanes where a > b; false for NaN.
ASYMPTOP_SIMD_INLINE LaneMask above(Floats a, Floats b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_GT_OQ);
#elif defined(ASYMPTOP_SIMD_AVX2)
  auto const c = _mm256_cmp_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), _CMP_GT_OQ);
  return _mm256_movemask_ps(c);
#else
  LaneMask m = 0;
  for (int l = 0; l < width; ++l) m |= a[l] > b[l] ? LaneMask{1} << l : 0u;
  return m;
#endif
}

/// Lanes where a < b.
ASYMPTOP_SIMD_INLINE LaneMask below(Ints a, Ints b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return _mm512_cmplt_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
#elif defined(ASYMPTOP_SIMD_AVX2)
  auto const c = _mm256_cmpgt_epi32(reinterpret_cast<__m256i>(b), reinterpret_cast<__m256i>(a));
  return _mm256_movemask_ps(_mm256_castsi256_ps(c));
#else
  LaneMask m = 0;
  for (int l = 0; l < width; ++l) m |= a[l] < b[l] ? LaneMask{1} << l : 0u;
  return m;
#endif
}

/// Lanes where a >= b.
ASYMPTOP_SIMD_INLINE LaneMask not_below(Ints a, Ints b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return _mm512_cmpge_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
#else
  return below(a, b) ^ all_lanes;
#endif
}

/// Lanes where a == b.
ASYMPTOP_SIMD_INLINE LaneMask equal(Ints a, Ints b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return _mm512_cmpeq_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
#elif defined(ASYMPTOP_SIMD_AVX2)
  auto const c = _mm256_cmpeq_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  return _mm256_movemask_ps(_mm256_castsi256_ps(c));
#else
  LaneMask m = 0;
  for (int l = 0; l < width; ++l) m |= a[l] == b[l] ? LaneMask{1} << l : 0u;
  return m;
#endif
}

/// Nearest integers of |x| < 2^31, ties to even; of others and of NaN the least integer, as the instruction has it.
ASYMPTOP_SIMD_INLINE Ints to_nearest(Floats x) {
#if defined(ASYMPTOP_SIMD_AVX512)
  // With a mask of all lanes: the intrinsic without one makes gcc 12 warn falsely.
  return reinterpret_cast<Ints>(_mm512_maskz_cvtps_epi32(static_cast<__mmask16>(all_lanes), reinterpret_cast<__m512>(x)));
#elif defined(ASYMPTOP_SIMD_AVX2)
  return reinterpret_cast<Ints>(_mm256_cvtps_epi32(reinterpret_cast<__m256>(x)));
#else
  Ints r{};
  for (int l = 0; l < width; ++l)
    r[l] = __builtin_fabsf(x[l]) < 2147483648.0f ? static_cast<std::int32_t>(__builtin_rintf(x[l])) : INT32_MIN;
  return r;
#endif
}

/// Lanes of a and b in turn, quad by quad: a0 b0 a1 b1 | a4 b4 a5 b5 | ... (One instruction; its intrinsic makes gcc 12 warn falsely.)
ASYMPTOP_SIMD_INLINE Ints interleave_low(Ints a, Ints b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
#elif defined(ASYMPTOP_SIMD_AVX2)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
/// a2 b2 a3 b3 | a6 b6 a7 b7 | ...
ASYMPTOP_SIMD_INLINE Ints interleave_high(Ints a, Ints b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
#elif defined(ASYMPTOP_SIMD_AVX2)
  return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

/// Bits of a and integers of the same width.
ASYMPTOP_SIMD_INLINE Ints bits_of(Floats x) { return reinterpret_cast<Ints>(x); }

/// Lanes below zero.
ASYMPTOP_SIMD_INLINE LaneMask negative(Ints x) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(x));
#elif defined(ASYMPTOP_SIMD_AVX2)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(x));
#else
  LaneMask m = 0;
  for (int l = 0; l < width; ++l) m |= x[l] < 0 ? LaneMask{1} << l : 0u;
  return m;
#endif
}

/// Ways to dot4(): spelt out; with pairs of products summed in 16 bits, where no byte of s is beyond +-pair_levels; or by the processor's
/// instruction.
enum class Dot { spelt_out, pairs, instruction };
/// 2 * 255 * 64 < 2^15.
inline constexpr int pair_levels = 64;

/// Whether the compiler's target has an instruction for dot4(); ASYMPTOP_SIMD_NO_DOT does without, for tests.
#if defined(ASYMPTOP_SIMD_AVX512) && defined(__AVX512VNNI__) && !defined(ASYMPTOP_SIMD_NO_DOT)
inline constexpr bool target_has_dot4 = true;
#elif defined(ASYMPTOP_SIMD_AVX2) && defined(__AVXVNNI__) && !defined(ASYMPTOP_SIMD_NO_DOT)
inline constexpr bool target_has_dot4 = true;
#else
inline constexpr bool target_has_dot4 = false;
#endif

/// With ASYMPTOP_SIMD_CHOOSE_DOT the instruction is taken where the processor has it and the target may not: one more copy of the
/// functions that use it, chosen at run time.
#if defined(ASYMPTOP_SIMD_CHOOSE_DOT) && defined(__x86_64__) && (defined(ASYMPTOP_SIMD_AVX512) || defined(ASYMPTOP_SIMD_AVX2))
inline constexpr bool chooses_dot4 = !target_has_dot4;
#else
inline constexpr bool chooses_dot4 = false;
#endif

/// Whether dot4() is one instruction here.
inline bool has_dot4() {
  if constexpr (chooses_dot4) {
    return width == 16 ? processor::avx512_vnni : processor::avx_vnni;
  } else {
    return target_has_dot4;
  }
}

/// sum + the products of four unsigned bytes of u with four signed ones of s, lane by lane and exact where the sum fits 32 bits.
/// Dot::instruction: where has_dot4() alone.
template <Dot dot>
ASYMPTOP_SIMD_INLINE Ints dot4(Ints sum, Ints u, Ints s) {
  if constexpr (dot == Dot::instruction) {
#if defined(ASYMPTOP_SIMD_AVX512) && defined(__AVX512VNNI__) && !defined(ASYMPTOP_SIMD_NO_DOT)
    return reinterpret_cast<Ints>(
        _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(u), reinterpret_cast<__m512i>(s)));
#elif defined(ASYMPTOP_SIMD_AVX2) && defined(__AVXVNNI__) && !defined(ASYMPTOP_SIMD_NO_DOT)
    return reinterpret_cast<Ints>(
        _mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(u), reinterpret_cast<__m256i>(s)));
#elif defined(ASYMPTOP_SIMD_AVX512)
    // As assembly: compilers offer their own name for it to functions of that target alone, and do not inline across targets.
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "vm"(s));
#elif defined(ASYMPTOP_SIMD_AVX2)
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(u), "xm"(s));
#endif
    return sum;
  }
#if defined(ASYMPTOP_SIMD_AVX512)
  if constexpr (dot == Dot::pairs) {
    auto const pairs = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(u), reinterpret_cast<__m512i>(s));
    return sum + reinterpret_cast<Ints>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
#elif defined(ASYMPTOP_SIMD_AVX2)
  if constexpr (dot == Dot::pairs) {
    auto const pairs = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(u), reinterpret_cast<__m256i>(s));
    return sum + reinterpret_cast<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
#endif
  // Even and odd bytes as 16-bit numbers: bytes of u above zero, those of s with their sign.
  using Shorts [[gnu::vector_size(4 * width)]] = std::int16_t;
  using UnsignedShorts [[gnu::vector_size(4 * width)]] = std::uint16_t;
  auto const odd_u = reinterpret_cast<Ints>(reinterpret_cast<UnsignedShorts>(u) >> 8), even_u = u & broadcast(0x00ff00ff);
  auto const odd_s = reinterpret_cast<Ints>(reinterpret_cast<Shorts>(s) >> 8),
             even_s = reinterpret_cast<Ints>((reinterpret_cast<Shorts>(s) << 8) >> 8);
#if defined(ASYMPTOP_SIMD_AVX512)
  auto const pairs = [](Ints a, Ints b) {
    return reinterpret_cast<Ints>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
  };
#elif defined(ASYMPTOP_SIMD_AVX2)
  auto const pairs = [](Ints a, Ints b) {
    return reinterpret_cast<Ints>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
  };
#else
  auto const pairs = [](Ints a, Ints b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); };
#endif
  return sum + pairs(even_u, even_s) + pairs(odd_u, odd_s);
}

/// a > b ? a : b, so b where either is NaN.
ASYMPTOP_SIMD_INLINE Floats larger(Floats a, Floats b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return a > b ? a : b;
#elif defined(ASYMPTOP_SIMD_AVX2)
  return reinterpret_cast<Floats>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  Floats r{};
  for (int l = 0; l < width; ++l) r[l] = a[l] > b[l] ? a[l] : b[l];
  return r;
#endif
}
/// a < b ? a : b.
ASYMPTOP_SIMD_INLINE Floats smaller(Floats a, Floats b) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return a < b ? a : b;
#elif defined(ASYMPTOP_SIMD_AVX2)
  return reinterpret_cast<Floats>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  Floats r{};
  for (int l = 0; l < width; ++l) r[l] = a[l] < b[l] ? a[l] : b[l];
  return r;
#endif
}

/// Bit by bit: which lanes of 8 come first, for every mask of 8 bits.
struct CompressTable {
  std::int32_t lanes[256][8];
  constexpr CompressTable() : lanes{} {
    for (int m = 0; m < 256; ++m) {
      int to = 0;
      for (int l = 0; l < 8; ++l) {
        if ((m >> l & 1) != 0) lanes[m][to++] = l;
      }
    }
  }
};
inline constexpr CompressTable compress_table{};

/// Writes the lanes of the mask one after another. Up to `width` elements are touched, whatever the mask: leave room.
ASYMPTOP_SIMD_INLINE void compress(std::int32_t* to, Ints v, LaneMask mask) {
#if defined(ASYMPTOP_SIMD_AVX512)
  // In a register: compressing to memory is microcode on Zen 4.
  auto const c = _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), reinterpret_cast<__m512i>(v));
  _mm512_storeu_si512(to, c);
#elif defined(ASYMPTOP_SIMD_AVX2)
  auto const order = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(compress_table.lanes[mask]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(v), order));
#else
  for (int l = 0; l < width; ++l) {
    if ((mask >> l & 1u) != 0u) *to++ = v[l];
  }
#endif
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
