// Neighbouring rows of synthetic input on a host: the same bits as input_row(), made in vectors.
#pragma once

#include <algorithm>
#include <vector>

#include "input_row.hpp"
#include "philox_lanes.hpp"

namespace asymptop {

/// Rows of one call of make_rows(), at most; an AR(1) sequence is made in aligned pieces of as many.
inline constexpr int rows_together = 128;

/// Normals of rows [first, first + count), any count, row j at out + j * d.
inline void normal_rows(RoundKeys const& keys, Stream stream, std::uint64_t first, int count, int d, float* out) {
  for (int j = 0; j < count; j += packed_keys)
    row_normals(keys, stream, first + j, std::min(packed_keys, count - j), d, out + std::int64_t{j} * d);
}

/// Values of the words of a row's groups [begin, begin + count) at out + q * stride + group, q < 4.
template <bool uniform>
void word_values(Stream stream, std::uint64_t row, int begin, int count, int stride, float* out) {
  for (int l = begin; l < begin + count; ++l) {
    std::uint32_t w[4];
    philox_words(stream, row, l, w[0], w[1], w[2], w[3]);
    for (int q = 0; q < 4; ++q) out[q * stride + l] = uniform ? uniform_value<float>(w[q]) : rademacher_value<float>(w[q]);
  }
}

#if !defined(__CUDACC__)
inline namespace ASYMPTOP_LANES_NAME {

/// The same of groups [begin, begin + lane_count) at once.
template <bool uniform>
ASYMPTOP_LANES_INLINE void word_lanes(RoundKeys const& keys, std::uint64_t row, int begin, int stride, float* out) {
  PhiloxLanes state;
  for (int h = 0; h < 2; ++h) {
    WideLanes group{};
    for (int l = 0; l < lane_count / 2; ++l) group[l] = begin + 2 * l + h;
    state.c0[h] = WideLanes{} + (row & 0xffffffffu);
    state.c1[h] = WideLanes{} + (row >> 32);
    state.c2[h] = group;
    state.c3[h] = WideLanes{};
  }
  ASYMPTOP_LANES_UNROLL(9)
  for (int r = 0; r < 9; ++r) state.round(keys.k0[r], keys.k1[r]);
  WordLanes words[4];
  state.last_round(keys.k0[9], keys.k1[9], words);
  for (int q = 0; q < 4; ++q) {
    FloatLanes const x = uniform ? uniform_value<FloatLanes>(words[q]) : rademacher_value<FloatLanes>(words[q]);
    memcpy(out + q * stride + begin, &x, sizeof x);
  }
}

}  // namespace ASYMPTOP_LANES_NAME
#endif

template <bool uniform>
void word_rows([[maybe_unused]] RoundKeys const& keys, Stream stream, std::uint64_t first, int count, int d, float* out) {
  int const stride = normal_stride(d);
  // Whole quads, whose last columns may be past the row's.
  std::vector<float> quads(4 * stride);
  for (int j = 0; j < count; ++j) {
    auto const row = first + j;
    int done = 0;
#if !defined(__CUDACC__)
    for (; done + lane_count <= stride; done += lane_count) word_lanes<uniform>(keys, row, done, stride, quads.data());
#endif
    word_values<uniform>(stream, row, done, stride - done, stride, quads.data());
    std::copy_n(quads.data(), d, out + std::int64_t{j} * d);
  }
}

template <class Space>
void student_rows(InputSource<Space> const& source, RoundKeys const& keys, std::uint64_t first, int count, int d, float* out) {
  int const stride = source.stride(d), width = 4 * stride;
  std::vector<float> normals(packed_keys * width);
  for (int begin = 0; begin < count; begin += packed_keys) {
    int const rows = std::min(packed_keys, count - begin);
    row_normals(keys, source.stream, first + begin, rows, width, normals.data());
    for (int j = 0; j < rows; ++j) {
      float const* x = normals.data() + j * width;
      float* to = out + std::int64_t{begin + j} * d;
#pragma omp simd
      for (int c = 0; c < stride; ++c) to[c] = student_value(x[c], x[stride + c], source.inverse_nu, source.factor);
#pragma omp simd
      for (int c = stride; c < d; ++c) to[c] = student_value(x[stride + c], x[2 * stride + c], source.inverse_nu, source.factor);
    }
  }
}

/// The part of [first, first + count) that lies in the aligned piece of rows_together rows from `piece` on.
template <class Space>
void ar1_rows(InputSource<Space> const& source, RoundKeys const& keys, std::uint64_t piece, std::uint64_t first, int count, int d,
              float* out) {
  std::vector<float> rows(std::int64_t{rows_together + 1} * d);
  auto const row = [&](std::int64_t j) { return rows.data() + j * d; };
  normal_rows(keys, source.stream, piece, rows_together, d, row(0));
  input_row(source, piece, d, row(0));
  input_row(source, piece + rows_together, d, row(rows_together));
  int level = 0;
  while ((2 << level) < rows_together && level + 1 < source.ar1.count) ++level;
  for (; level >= 0 && source.ar1.count > 0; --level) {
    int const h = 1 << level;
    for (int j = h; j < rows_together; j += 2 * h) {
      float const *before = row(j - h), *after = row(j + h);
      float* x = row(j);
#pragma omp simd
      for (int c = 0; c < d; ++c) x[c] = source.ar1.between(level, before[c], after[c], x[c]);
    }
  }
  auto const begin = std::max(first, piece), end = std::min(first + count, piece + rows_together);
  if (begin < end) std::copy(row(begin - piece), row(end - piece), out + (begin - first) * d);
}

/// Rows [first, first + count), count <= rows_together, row j at out + j * d. Normals alone are made by row_normals().
template <class Space>
void make_rows(InputSource<Space> const& source, RoundKeys const& keys, std::uint64_t first, int count, int d, float* out) {
  switch (source.distribution) {
    case Distribution::uniform:
      return word_rows<true>(keys, source.stream, first, count, d, out);
    case Distribution::rademacher:
      return word_rows<false>(keys, source.stream, first, count, d, out);
    case Distribution::student:
      return student_rows(source, keys, first, count, d, out);
    case Distribution::ar1: {
      auto const piece = first / rows_together * rows_together;
      ar1_rows(source, keys, piece, first, count, d, out);
      if (piece + rows_together < first + count) ar1_rows(source, keys, piece + rows_together, first, count, d, out);
      return;
    }
    default:
      normal_rows(keys, source.stream, first, count, d, out);
      for (int j = 0; j < count; ++j) finish_row(source, first + j, d, out + std::int64_t{j} * d);
  }
}

}  // namespace asymptop
