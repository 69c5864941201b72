// Counter-based normal numbers: any element of a synthetic tensor from (stream, row, column), on any rank or device.
#pragma once

#include <Random123/philox.h>

#include <Kokkos_Core.hpp>
#include <cstdint>

#include "../core/math.hpp"
#include "lanes.hpp"

namespace asymptop {

/// What a synthetic tensor is for; part of its random stream.
enum class Tensor : std::uint32_t {
  keys = 1,
  values = 2,
  queries = 3,
  weights_q = 4,
  weights_k = 5,
  positions = 6,
  start = 7,
  centres = 8,
  needles = 9,
  selection = 10,   ///< what selectors draw at random
  calibration = 11  ///< queries that selectors are calibrated on
};

/// A Philox4x32-10 key: one stream of random numbers per tensor.
struct Stream {
  std::uint32_t key0;
  std::uint32_t key1;
};

/// The stream of one tensor of one draw. Seeds, draws, sizes and tensors that differ give unrelated streams, because
/// the stream's key is itself an output of Philox.
inline Stream tensor_stream(std::uint64_t seed, std::uint64_t draw, std::int64_t n, std::int64_t d, Tensor tensor) {
  r123::Philox4x32 philox;
  r123::Philox4x32::ukey_type key = {{low_word(seed), high_word(seed)}};
  r123::Philox4x32::ctr_type const sizes = {{low_word(n), high_word(n), low_word(d), static_cast<std::uint32_t>(tensor)}};
  auto const first = philox(sizes, key);
  key = {{first[0], first[1]}};
  r123::Philox4x32::ctr_type const draws = {{low_word(draw), high_word(draw), first[2], first[3]}};
  auto const second = philox(draws, key);
  return {second[0], second[1]};
}

/// Philox's multipliers, and what is added to its key after every round.
inline constexpr std::uint32_t philox_multiplier0 = 0xD2511F53u, philox_multiplier1 = 0xCD9E8D57u;
inline constexpr std::uint32_t philox_weyl0 = 0x9E3779B9u, philox_weyl1 = 0xBB67AE85u;

/// Four uniform 32-bit words of counter (row, group): Philox4x32-10.
/// Random123's own function keeps its words in arrays, which stops gcc from vectorising the loop over groups (measured:
/// 10 ns a normal against 1.4), so the ten rounds are spelled out; a test holds them equal to Random123's.
KOKKOS_FORCEINLINE_FUNCTION void philox_words(Stream stream, std::uint64_t row, std::uint32_t group, std::uint32_t& w0, std::uint32_t& w1,
                                              std::uint32_t& w2, std::uint32_t& w3) {
  std::uint32_t c0 = low_word(row), c1 = high_word(row), c2 = group, c3 = 0u;
  std::uint32_t k0 = stream.key0, k1 = stream.key1;
#define ASYMPTOP_PHILOX_ROUND                                        \
  {                                                                  \
    std::uint64_t const p0 = std::uint64_t{philox_multiplier0} * c0; \
    std::uint64_t const p1 = std::uint64_t{philox_multiplier1} * c2; \
    c0 = high_word(p1) ^ c1 ^ k0;                                    \
    c2 = high_word(p0) ^ c3 ^ k1;                                    \
    c1 = low_word(p1);                                               \
    c3 = low_word(p0);                                               \
    k0 += philox_weyl0;                                              \
    k1 += philox_weyl1;                                              \
  }
  ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND
      ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND
#undef ASYMPTOP_PHILOX_ROUND
          w0 = c0;
  w1 = c1;
  w2 = c2;
  w3 = c3;
}

/// Bound of |x| for these normals.
inline constexpr double largest_normal = 6.8;

/// Box-Muller on two words, or on lanes of two words; the same operations in the same order for both, so that builds with FMA give the
/// same bits at every vector width. |normal| <= sqrt(66 log 2) = 6.77.
///
/// Radius: u = (a + 1/2) / 2^32 with a taken as a signed word t, so that u near 1 keeps its digits: for t < 0, f = u - 1 = (t + 1/2) / 2^32
/// itself; for t >= 0, u = 2^e (1 + f) with f in [-1/2, 0). Then r^2 = -2 log u = -2 log(2) e + f P(f) has no cancellation.
/// P: minimax of -2 log(1 + f) / f on [-1/2, 0], relative error 2.4e-8.
/// Angle: within a quarter turn about 0 from b / 2^31 = y in [-1, 1], angle pi y / 4 (minimax of sine and cosine, relative errors 2.8e-8
/// and 3.9e-8); bit 0 mirrors it and bit 1 swaps the axes.
template <class Float, class Word>
KOKKOS_FORCEINLINE_FUNCTION void box_muller(Word a, Word b, Float& x, Float& y) {
  Float const zero{};
  Float const t = signed_float(a) + 0.5f;
  Word const bits = bit_cast<Word>(t);
  Float const f = select_bit<31>(a, t * 2.3283064365386963e-10f, bit_cast<Float>((bits & 0x007fffffu) | 0x3f000000u) - 1.0f);
  Float const e = signed_float(zero_if_negative(a, (bits - 0x4f000000u) & 0xff800000u));  // e * 2^23
  Float p = multiply_add(zero - 2.828575611114502f, f, zero - 3.2780873775482178f);
  p = multiply_add(p, f, zero - 2.416487455368042f);
  p = multiply_add(p, f, zero - 0.36147770285606384f);
  p = multiply_add(p, f, zero - 0.5272728800773621f);
  p = multiply_add(p, f, zero + 0.48738062381744385f);
  p = multiply_add(p, f, zero - 0.6672631502151489f);
  p = multiply_add(p, f, zero + 0.9999904632568359f);
  p = multiply_add(p, f, zero - 2.0f);
  Float const radius = square_root(multiply_add(e, zero - 1.6525917e-7f, f * p));  // 2 log(2) / 2^23

  Float const angle = signed_float(b) * 4.656612873077393e-10f;  // 2^-31
  Float const z = angle * angle;
  Float s = multiply_add(zero - 3.660915172076784e-05f, z, zero + 0.0024910164065659046f);
  s = multiply_add(s, z, zero - 0.08074583113193512f);
  s = multiply_add(s, z, zero + 0.7853981852531433f);
  s = s * angle;
  Float c = multiply_add(zero - 0.0003189770213793963f, z, zero + 0.01585014909505844f);
  c = multiply_add(c, z, zero - 0.3084244132041931f);
  c = multiply_add(c, z, zero + 1.0f);
  c = bit_cast<Float>(bit_cast<Word>(c) ^ (b << 31));
  x = radius * select_bit<1>(b, s, c);
  y = radius * select_bit<1>(b, c, s);
}

/// Columns are filled in four strides of ceil(d / 4), so that neighbouring lanes write neighbouring columns.
KOKKOS_FORCEINLINE_FUNCTION int normal_stride(int d) { return (d + 3) / 4; }

/// The four normals of (row, group): columns group, group + stride, group + 2 stride, group + 3 stride.
KOKKOS_FORCEINLINE_FUNCTION void normal_quad(Stream stream, std::uint64_t row, std::uint32_t group, float& x0, float& x1, float& x2,
                                             float& x3) {
  std::uint32_t w0, w1, w2, w3;
  philox_words(stream, row, group, w0, w1, w2, w3);
  box_muller(w0, w1, x0, x1);
  box_muller(w2, w3, x2, x3);
}

}  // namespace asymptop
