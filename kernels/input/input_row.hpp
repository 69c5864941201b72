// One row of synthetic input of any kind, on host or device: the definition that tiles are held to.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <vector>

#include "../core/math.hpp"
#include "../core/types.hpp"
#include "ar1_levels.hpp"
#include "input_kind.hpp"
#include "philox_normal.hpp"

namespace asymptop {

/// What the rows of a draw depend on beside their stream.
struct InputTables {
  std::vector<float> centres;        ///< (clusters, d)
  std::vector<GlobalIndex> planted;  ///< rows that are replaced
  std::vector<float> planted_rows;   ///< (planted, d)
};

/// All that rows are made from, for kernels to capture.
template <class Space>
struct InputSource {
  Distribution distribution = Distribution::gaussian;
  Stream stream{};
  float inverse_nu = 0.0f, factor = 1.0f;  ///< of student
  float spread = 0.0f;
  Ar1Levels ar1;
  Matrix<Space, float> centres, planted_rows;
  Vector<Space, GlobalIndex> planted;

  InputSource() = default;
  InputSource(InputKind const& kind, Stream const& stream_of_rows, InputTables const& tables, int d)
      : distribution(kind.distribution), stream(stream_of_rows), spread(to_fp32(kind.spread)) {
    if (kind.is(Distribution::student)) {
      inverse_nu = to_fp32(1.0 / kind.parameter);
      factor = to_fp32(kind.parameter > 2.0 ? std::sqrt((kind.parameter - 2.0) / kind.parameter) : 1.0);
    }
    if (kind.is(Distribution::ar1)) ar1 = Ar1Levels(kind.parameter);
    centres = matrix("Asymptop::input::centres", tables.centres, d);
    planted_rows = matrix("Asymptop::input::planted_rows", tables.planted_rows, d);
    if (tables.planted.empty()) return;
    planted = Vector<Space, GlobalIndex>("Asymptop::input::planted", tables.planted.size());
    auto const host = Kokkos::create_mirror_view(planted);
    std::copy(tables.planted.begin(), tables.planted.end(), host.data());
    Kokkos::deep_copy(planted, host);
  }

  /// Rows that are normals, but for planted ones.
  bool normal() const { return distribution == Distribution::gaussian || distribution == Distribution::needle; }
  /// Columns l + c * stride, c < columns_of_quad, come from the words of group l.
  KOKKOS_FORCEINLINE_FUNCTION int columns_of_quad() const { return distribution == Distribution::student ? 2 : 4; }
  KOKKOS_FORCEINLINE_FUNCTION int stride(int d) const { return (d + columns_of_quad() - 1) / columns_of_quad(); }

 private:
  static Matrix<Space, float> matrix(char const* label, std::vector<float> const& values, int d) {
    if (values.empty()) return {};
    Matrix<Space, float> const result(std::string(label), values.size() / d, d);
    auto const host = Kokkos::create_mirror_view(result);
    std::copy(values.begin(), values.end(), host.data());
    Kokkos::deep_copy(result, host);
    return result;
  }
};

/// Uniform on [-sqrt(3), sqrt(3)]: variance 1 - 2^-64.
template <class Float, class Word>
KOKKOS_FORCEINLINE_FUNCTION Float uniform_value(Word w) {
  return (signed_float(w) + 0.5f) * 8.0654899e-10f;  // sqrt(3) / 2^31
}

template <class Float, class Word>
KOKKOS_FORCEINLINE_FUNCTION Float rademacher_value(Word w) {
  return bit_cast<Float>((w & 0x80000000u) | 0x3f800000u);
}

/// Student's t from a pair of normals: with r^2 = x^2 + y^2, an exponential variable of mean 2, and x / r the cosine of a uniform angle,
///   t = (x / r) sqrt(nu expm1(r^2 / nu))
/// (Bailey 1994). Its largest value, at the largest r, is exceeded with probability 2^-33. Relative error below 3e-7 (1 + r^2 / nu).
KOKKOS_FORCEINLINE_FUNCTION float student_value(float x, float y, float inverse_nu, float factor) {
  float const square = multiply_add(x, x, y * y);
  float const z = multiply_add(square, inverse_nu, 1e-30f);  // never 0
  constexpr float magic = 12582912.0f;                       // 1.5 * 2^23: the low bits of the sum hold the integer
  float const shifted = multiply_add(z, 1.44269504088896341f, magic), k = shifted - magic;
  float const r = multiply_add(k, 2.12194440e-4f, multiply_add(k, -0.693359375f, z));
  float p = multiply_add(1.9875691500e-4f, r, 1.3981999507e-3f);
  p = multiply_add(p, r, 8.3334519073e-3f);
  p = multiply_add(p, r, 4.1665795894e-2f);
  p = multiply_add(p, r, 1.6666665459e-1f);
  p = multiply_add(p, r, 5.0000001201e-1f);
  float const less_one = multiply_add(p, r * r, r);  // e^r - 1
  float const power = bit_cast<float>((bit_cast<std::uint32_t>(shifted) - bit_cast<std::uint32_t>(magic) + 127u) << 23);
  return factor * x * square_root(multiply_add(power, less_one, power - 1.0f) / z);
}

/// The cluster of a row. Words of a group that no column has; a cluster's probability is 1 / clusters to 2^-32.
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t cluster_of(Stream stream, std::uint64_t row, std::uint32_t clusters) {
  std::uint32_t w0, w1, w2, w3;
  philox_words(stream, row, 0x80000000u, w0, w1, w2, w3);
  return high_word(std::uint64_t{w0} * clusters);
}

/// Scales a row of normals to norm sqrt(d). Squares of fp32 numbers are exact in fp64; they are summed in eight chains.
KOKKOS_INLINE_FUNCTION void scale_to_sphere(float* x, int d) {
  double sum[8] = {};
  for (int c = 0; c < d; ++c) {
    double const value = x[c];
    sum[c % 8] += value * value;
  }
  double const square = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  double const scale = sqrt(d / square);
  for (int c = 0; c < d; ++c) x[c] = static_cast<float>(x[c] * scale);
}

/// Makes a row of normals a member of its cluster.
KOKKOS_INLINE_FUNCTION void move_to_cluster(float const* centre, float spread, int d, float* x) {
  for (int c = 0; c < d; ++c) x[c] = multiply_add(spread, x[c], centre[c]);
}

/// The columns that group `l` of a row makes, before what takes a whole row.
template <class Space>
KOKKOS_INLINE_FUNCTION void input_quad(InputSource<Space> const& source, std::uint64_t row, std::uint32_t l, float (&x)[4]) {
  switch (source.distribution) {
    case Distribution::uniform:
    case Distribution::rademacher: {
      std::uint32_t w[4];
      philox_words(source.stream, row, l, w[0], w[1], w[2], w[3]);
      for (int c = 0; c < 4; ++c)
        x[c] = source.distribution == Distribution::uniform ? uniform_value<float>(w[c]) : rademacher_value<float>(w[c]);
      return;
    }
    case Distribution::ar1:
      ar1_quad(source.stream, source.ar1, row, l, x);
      return;
    default:
      normal_quad(source.stream, row, l, x[0], x[1], x[2], x[3]);
      if (source.distribution != Distribution::student) return;
      x[0] = student_value(x[0], x[1], source.inverse_nu, source.factor);
      x[1] = student_value(x[2], x[3], source.inverse_nu, source.factor);
  }
}

/// What takes a whole row.
template <class Space>
KOKKOS_INLINE_FUNCTION void finish_row(InputSource<Space> const& source, std::uint64_t row, int d, float* x) {
  if (source.distribution == Distribution::sphere) scale_to_sphere(x, d);
  if (source.distribution != Distribution::clusters) return;
  auto const cluster = cluster_of(source.stream, row, source.centres.extent_int(0));
  move_to_cluster(&source.centres(cluster, 0), source.spread, d, x);
}

/// One row; planted ones as they were before.
template <class Space>
KOKKOS_INLINE_FUNCTION void input_row(InputSource<Space> const& source, std::uint64_t row, int d, float* out) {
  int const stride = source.stride(d);
  for (int l = 0; l < stride; ++l) {
    float x[4];
    input_quad(source, row, l, x);
    for (int c = 0; c < source.columns_of_quad(); ++c) {
      if (l + c * stride < d) out[l + c * stride] = x[c];
    }
  }
  finish_row(source, row, d, out);
}

}  // namespace asymptop
