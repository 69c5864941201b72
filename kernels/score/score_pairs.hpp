// Scores of single pairs of rows and keys: the chain of panel.hpp for what screening lets through.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "panel.hpp"

namespace asymptop {

/// A query row and a key of one packed group: row * key_group + key.
using RowKeyPair = std::int32_t;
inline int row_of(std::uint32_t pair) { return pair / key_group; }
inline int key_of(std::uint32_t pair) { return pair % key_group; }

/// fp32 queries, row by row, each padded to whole chunks of columns, which are cache lines, and one row of zeros past them.
struct QueryLines {
  static constexpr int chunk = 16;
  std::size_t stride = 0;
  Vector<Kokkos::HostSpace, float> data;

  QueryLines() = default;
  explicit QueryLines(PackedQueries const& queries)
      : stride((queries.d + chunk - 1) / chunk * chunk), data("Asymptop::score::lines", (queries.rows + 1) * stride) {
    for (int r = 0; r < queries.rows; ++r) {
      auto const numbers = queries.row(r);
      for (int c = 0; c < queries.d; ++c) data(r * stride + c) = numbers(c);
    }
  }
  float const* row(int r) const { return data.data() + r * stride; }
};

namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Pairs that score_pairs takes at a time.
inline constexpr std::size_t pair_batch = 16;

/// scores[i] = the score of pairs[i], a key of the packed group; that many independent chains.
template <int chains>
ASYMPTOP_SIMD_INLINE void score_pairs_apart(QueryLines const& queries, RowKeyPair const* pairs, float const* group, int d, float* scores) {
  float const* q[chains];
  float const* k[chains];
  float sum[chains] = {};
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) {
    q[i] = queries.row(row_of(pairs[i]));
    k[i] = group + key_of(pairs[i]);
  }
  for (int c = 0; c < d; ++c) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sum[i] = __builtin_fmaf(q[i][c], k[i][c * key_group], sum[i]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) scores[i] = sum[i];
}

#if defined(ASYMPTOP_SIMD_AVX512)
/// Lane l: number (which[l] % 32) of a column of the group.
ASYMPTOP_SIMD_INLINE Floats pick(float const* column, Ints which) {
  return reinterpret_cast<Floats>(
      _mm512_permutex2var_ps(_mm512_loadu_ps(column), reinterpret_cast<__m512i>(which), _mm512_loadu_ps(column + 16)));
}
#elif defined(ASYMPTOP_SIMD_AVX2)
/// Lane l: number (which[l] % 32) of a column of the group.
ASYMPTOP_SIMD_INLINE Floats pick(float const* column, Ints which) {
  auto const of_eight = [&](int eight) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(column + 8 * eight), reinterpret_cast<__m256i>(which));
  };
  // A blend goes by the highest bit of a lane.
  auto const odd = reinterpret_cast<__m256>(which << 28), upper = reinterpret_cast<__m256>(which << 27);
  return reinterpret_cast<Floats>(
      _mm256_blendv_ps(_mm256_blendv_ps(of_eight(0), of_eight(1), odd), _mm256_blendv_ps(of_eight(2), of_eight(3), odd), upper));
}
#endif

#if defined(ASYMPTOP_SIMD_AVX512) || defined(ASYMPTOP_SIMD_AVX2)
static_assert(QueryLines::chunk % width == 0);
/// Four numbers each of rows[0], rows[4], ..., a quad of lanes for each.
ASYMPTOP_SIMD_INLINE Ints load_quads(float const* const* rows, int from) {
#if defined(ASYMPTOP_SIMD_AVX512)
  // Blended in as they are loaded: nothing for the one unit that shuffles.
  __m512 quads = _mm512_castps128_ps512(_mm_loadu_ps(rows[0] + from));
  quads = _mm512_mask_broadcast_f32x4(quads, 0x00f0, _mm_loadu_ps(rows[4] + from));
  quads = _mm512_mask_broadcast_f32x4(quads, 0x0f00, _mm_loadu_ps(rows[8] + from));
  return reinterpret_cast<Ints>(_mm512_mask_broadcast_f32x4(quads, 0xf000, _mm_loadu_ps(rows[12] + from)));
#else
  return reinterpret_cast<Ints>(_mm256_set_m128(_mm_loadu_ps(rows[4] + from), _mm_loadu_ps(rows[0] + from)));
#endif
}

/// columns[c][i] = rows[i][from + c].
ASYMPTOP_SIMD_INLINE void load_transposed(float const* const (&rows)[width], int from, Floats (&columns)[width]) {
#pragma GCC unroll 4
  for (int c = 0; c < width; c += 4) {
    Ints const row0 = load_quads(rows, from + c), row1 = load_quads(rows + 1, from + c);
    Ints const row2 = load_quads(rows + 2, from + c), row3 = load_quads(rows + 3, from + c);
    Ints const even01 = interleave_low(row0, row2), even23 = interleave_high(row0, row2);
    Ints const odd01 = interleave_low(row1, row3), odd23 = interleave_high(row1, row3);
    columns[c] = reinterpret_cast<Floats>(interleave_low(even01, odd01));
    columns[c + 1] = reinterpret_cast<Floats>(interleave_high(even01, odd01));
    columns[c + 2] = reinterpret_cast<Floats>(interleave_low(even23, odd23));
    columns[c + 3] = reinterpret_cast<Floats>(interleave_high(even23, odd23));
  }
}

/// The same for `width` pairs, a lane for each.
ASYMPTOP_SIMD_INLINE void score_pairs_in_lanes(QueryLines const& queries, RowKeyPair const* pairs, float const* group, int d,
                                               float* scores) {
  Ints const which = load(pairs);
  float const* rows[width];
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) rows[i] = queries.row(row_of(pairs[i]));
  Floats sum{}, q[width];
  int const whole = d / width * width;
  for (int begin = 0; begin < whole; begin += width) {
    load_transposed(rows, begin, q);
#pragma GCC unroll 16
    for (int c = 0; c < width; ++c) sum = fma(q[c], pick(group + (begin + c) * key_group, which), sum);
  }
  if (whole < d) {
    load_transposed(rows, whole, q);
    for (int c = whole; c < d; ++c) sum = fma(q[c - whole], pick(group + c * key_group, which), sum);
  }
  store(scores, sum);
}
/// So many pairs are scored faster one by one.
inline constexpr std::size_t few_pairs = width == 16 ? 4 : 2;
#endif

/// scores[i] = the score of pairs[i] for `count` pairs of one packed group. pair_batch places of `pairs` hold valid ones, whatever
/// `count`, and as many scores are written.
inline void score_pairs(QueryLines const& queries, RowKeyPair const* pairs, float const* group, std::size_t count, int d, float* scores) {
  std::size_t i = 0;
#if defined(ASYMPTOP_SIMD_AVX512) || defined(ASYMPTOP_SIMD_AVX2)
  for (; i + few_pairs < count; i += width) score_pairs_in_lanes(queries, pairs + i, group, d, scores + i);
#endif
  for (; i + 4 <= count; i += 4) score_pairs_apart<4>(queries, pairs + i, group, d, scores + i);
  for (; i < count; ++i) score_pairs_apart<1>(queries, pairs + i, group, d, scores + i);
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
