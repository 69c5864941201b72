// Scores of single pairs of rows and keys: the chain of panel.hpp for what screening lets through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "panel.hpp"

namespace asymptop {

/// A query row and a key of one packed group: row * key_group + key.
using RowKeyPair = std::int32_t;
inline int row_of(std::uint32_t pair) { return pair / key_group; }
inline int key_of(std::uint32_t pair) { return pair % key_group; }

/// fp32 queries, row by row, each padded to whole chunks of columns, and one row of zeros past them.
struct QueryLines {
  static constexpr int chunk = 16;
  std::size_t stride = 0;
  std::vector<float> data;

  QueryLines() = default;
  explicit QueryLines(PackedQueries const& queries) : stride((queries.d + chunk - 1) / chunk * chunk), data((queries.rows + 1) * stride) {
    for (int r = 0; r < queries.rows; ++r) {
      auto const numbers = queries.row(r);
      for (int c = 0; c < queries.d; ++c) data[r * stride + c] = numbers(c);
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
/// rows[i][c] becomes rows[c][i]: four perfect shuffles.
ASYMPTOP_SIMD_INLINE void transpose(Floats (&rows)[16]) {
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    Floats next[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = __builtin_shufflevector(rows[i], rows[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) rows[i] = next[i];
  }
}

/// Lane l: number (which[l] % 32) of a column of the group.
ASYMPTOP_SIMD_INLINE Floats pick(float const* column, Ints which) {
  return reinterpret_cast<Floats>(
      _mm512_permutex2var_ps(_mm512_loadu_ps(column), reinterpret_cast<__m512i>(which), _mm512_loadu_ps(column + 16)));
}
#elif defined(ASYMPTOP_SIMD_AVX2)
/// rows[i][c] becomes rows[c][i]: pairs of numbers, then fours, then halves change places.
ASYMPTOP_SIMD_INLINE void transpose(Floats (&rows)[8]) {
  Floats twos[8], fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    twos[2 * i] = __builtin_shufflevector(rows[2 * i], rows[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    twos[2 * i + 1] = __builtin_shufflevector(rows[2 * i], rows[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    int const from = i / 2 * 4 + i % 2, to = i / 2 * 4 + 2 * (i % 2);
    fours[to] = __builtin_shufflevector(twos[from], twos[from + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    fours[to + 1] = __builtin_shufflevector(twos[from], twos[from + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i] = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    rows[i + 4] = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

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
/// The same for `width` pairs, a lane for each.
ASYMPTOP_SIMD_INLINE void score_pairs_in_lanes(QueryLines const& queries, RowKeyPair const* pairs, float const* group, int d,
                                               float* scores) {
  Ints const which = load(pairs);
  Floats sum{}, q[width];
  auto const load_queries = [&](int begin) {
#pragma GCC unroll 16
    for (int i = 0; i < width; ++i) q[i] = load(queries.row(row_of(pairs[i])) + begin);
    transpose(q);
  };
  int const whole = d / width * width;
  for (int begin = 0; begin < whole; begin += width) {
    load_queries(begin);
#pragma GCC unroll 16
    for (int c = 0; c < width; ++c) sum = fma(q[c], pick(group + (begin + c) * key_group, which), sum);
  }
  if (whole < d) {
    load_queries(whole);
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
