// Neighbouring rows of synthetic input on a host: the same bits as input_row(), made in vectors.
#pragma once

#include <algorithm>
#include <vector>

#include "input/input_row.hpp"
#include "input/philox_lanes.hpp"

namespace asymptop {

/// Rows of one call of make_rows(), at most; an AR(1) sequence is made in aligned pieces of as many.
inline constexpr int rows_together = 128;

/// Normals of rows [first, first + count), any count, row j at out + j * d.
inline void normal_rows(RoundKeys const& keys, Stream stream, std::uint64_t first, int count, int d, float* out) {
  for (int j = 0; j < count; j += packed_keys)
    row_normals(keys, stream, first + static_cast<std::uint64_t>(j), std::min(packed_keys, count - j), d, out + std::int64_t{j} * d);
}

template <class Space>
void uniform_rows(InputSource<Space> const& source, std::uint64_t first, int count, int d, float* out) {
  int const stride = normal_stride(d);
  // Whole quads, whose last columns may be past the row's.
  std::vector<float> quads(static_cast<std::size_t>(4 * stride));
  float *x0 = quads.data(), *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
  bool const uniform = source.distribution == Distribution::uniform;
  for (int j = 0; j < count; ++j) {
    auto const row = first + static_cast<std::uint64_t>(j);
#pragma omp simd
    for (int l = 0; l < stride; ++l) {
      std::uint32_t w0, w1, w2, w3;
      philox_words(source.stream, row, static_cast<std::uint32_t>(l), w0, w1, w2, w3);
      x0[l] = uniform ? uniform_value(w0) : rademacher_value(w0);
      x1[l] = uniform ? uniform_value(w1) : rademacher_value(w1);
      x2[l] = uniform ? uniform_value(w2) : rademacher_value(w2);
      x3[l] = uniform ? uniform_value(w3) : rademacher_value(w3);
    }
    std::copy_n(quads.data(), d, out + std::int64_t{j} * d);
  }
}

template <class Space>
void student_rows(InputSource<Space> const& source, RoundKeys const& keys, std::uint64_t first, int count, int d, float* out) {
  int const stride = source.stride(d), width = 4 * stride;
  std::vector<float> normals(static_cast<std::size_t>(packed_keys * width));
  for (int begin = 0; begin < count; begin += packed_keys) {
    int const rows = std::min(packed_keys, count - begin);
    row_normals(keys, source.stream, first + static_cast<std::uint64_t>(begin), rows, width, normals.data());
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
  std::vector<float> rows(static_cast<std::size_t>(rows_together + 1) * static_cast<std::size_t>(d));
  auto const row = [&](int j) { return rows.data() + std::int64_t{j} * d; };
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
  auto const begin = std::max(first, piece), end = std::min(first + static_cast<std::uint64_t>(count), piece + rows_together);
  if (begin < end)
    std::copy(row(static_cast<int>(begin - piece)), row(static_cast<int>(end - piece)), out + static_cast<std::int64_t>(begin - first) * d);
}

/// Rows [first, first + count), count <= rows_together, row j at out + j * d. Normals alone are made by row_normals().
template <class Space>
void make_rows(InputSource<Space> const& source, RoundKeys const& keys, std::uint64_t first, int count, int d, float* out) {
  switch (source.distribution) {
    case Distribution::uniform:
    case Distribution::rademacher:
      return uniform_rows(source, first, count, d, out);
    case Distribution::student:
      return student_rows(source, keys, first, count, d, out);
    case Distribution::ar1: {
      auto const piece = first / rows_together * rows_together;
      ar1_rows(source, keys, piece, first, count, d, out);
      if (piece + rows_together < first + static_cast<std::uint64_t>(count))
        ar1_rows(source, keys, piece + rows_together, first, count, d, out);
      return;
    }
    default:
      normal_rows(keys, source.stream, first, count, d, out);
      for (int j = 0; j < count; ++j) finish_row(source, first + static_cast<std::uint64_t>(j), d, out + std::int64_t{j} * d);
  }
}

}  // namespace asymptop
