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

/// The same for 16 pairs, a lane for each.
ASYMPTOP_SIMD_INLINE void score_pairs_in_lanes(QueryLines const& queries, RowKeyPair const* pairs, float const* group, int d,
                                               float* scores) {
  auto const lanes = reinterpret_cast<__m512i>(load(pairs));  // of which the permutation below looks at the low five bits
  Floats sum{}, q[16];
  auto const load_queries = [&](int begin) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) q[i] = load(queries.row(row_of(pairs[i])) + begin);
    transpose(q);
  };
  auto const add_column = [&](Floats const& of_rows, float const* column) {
    auto const k = _mm512_permutex2var_ps(_mm512_loadu_ps(column), lanes, _mm512_loadu_ps(column + 16));
    sum = fma(of_rows, reinterpret_cast<Floats>(k), sum);
  };
  int const whole = d / 16 * 16;
  for (int begin = 0; begin < whole; begin += 16) {
    load_queries(begin);
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c) add_column(q[c], group + (begin + c) * key_group);
  }
  if (whole < d) {
    load_queries(whole);
    for (int c = whole; c < d; ++c) add_column(q[c - whole], group + c * key_group);
  }
  store(scores, sum);
}
#endif

/// scores[i] = the score of pairs[i] for `count` pairs of one packed group. pair_batch places of `pairs` hold valid ones, whatever
/// `count`, and as many scores are written.
inline void score_pairs(QueryLines const& queries, RowKeyPair const* pairs, float const* group, std::size_t count, int d, float* scores) {
#if defined(ASYMPTOP_SIMD_AVX512)
  if (count > 4) {
    score_pairs_in_lanes(queries, pairs, group, d, scores);
    return;
  }
#endif
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) score_pairs_apart<4>(queries, pairs + i, group, d, scores + i);
  for (; i < count; ++i) score_pairs_apart<1>(queries, pairs + i, group, d, scores + i);
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
