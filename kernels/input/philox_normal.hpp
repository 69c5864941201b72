// Counter-based normal numbers: any element of a synthetic tensor from (stream, row, column), on any rank or device.
#pragma once

#include <Random123/philox.h>

#include <Kokkos_Core.hpp>
#include <cstdint>

#include "core/math.hpp"

namespace asymptop {

/// What a synthetic tensor is for; part of its random stream.
enum class Tensor : std::uint32_t { keys = 1, values = 2, queries = 3, weights_q = 4, weights_k = 5, positions = 6 };

/// A Philox4x32-10 key: one stream of random numbers per tensor.
struct Stream {
  std::uint32_t key0;
  std::uint32_t key1;
};

/// The stream of one tensor of one draw. Seeds, draws, sizes and tensors that differ give unrelated streams, because
/// the stream's key is itself an output of Philox.
inline Stream tensor_stream(std::uint64_t seed, std::uint64_t draw, std::int64_t n, std::int64_t d, Tensor tensor) {
  r123::Philox4x32 philox;
  auto const size = static_cast<std::uint64_t>(n);
  auto const high = static_cast<std::uint32_t>(size >> 32);
  r123::Philox4x32::ukey_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  r123::Philox4x32::ctr_type const sizes = {
      {static_cast<std::uint32_t>(size), high, static_cast<std::uint32_t>(d), static_cast<std::uint32_t>(tensor)}};
  auto const first = philox(sizes, key);
  key = {{first[0], first[1]}};
  r123::Philox4x32::ctr_type const draws = {{static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(draw >> 32), first[2], first[3]}};
  auto const second = philox(draws, key);
  return {second[0], second[1]};
}

/// Four uniform 32-bit words of counter (row, group): Philox4x32-10.
/// Random123's own function keeps its words in arrays, which stops gcc from vectorising the loop over groups (measured:
/// 10 ns a normal against 1.4), so the ten rounds are spelled out; a test holds them equal to Random123's.
KOKKOS_FORCEINLINE_FUNCTION void philox_words(Stream stream, std::uint64_t row, std::uint32_t group, std::uint32_t& w0, std::uint32_t& w1,
                                              std::uint32_t& w2, std::uint32_t& w3) {
  constexpr std::uint64_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
  std::uint32_t c0 = static_cast<std::uint32_t>(row), c1 = static_cast<std::uint32_t>(row >> 32), c2 = group, c3 = 0u;
  std::uint32_t k0 = stream.key0, k1 = stream.key1;
#define ASYMPTOP_PHILOX_ROUND                            \
  {                                                      \
    std::uint64_t const p0 = multiplier0 * c0;           \
    std::uint64_t const p1 = multiplier1 * c2;           \
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0; \
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1; \
    c1 = static_cast<std::uint32_t>(p1);                 \
    c3 = static_cast<std::uint32_t>(p0);                 \
    k0 += 0x9E3779B9u;                                   \
    k1 += 0xBB67AE85u;                                   \
  }
  ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND
      ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND ASYMPTOP_PHILOX_ROUND
#undef ASYMPTOP_PHILOX_ROUND
          w0 = c0;
  w1 = c1;
  w2 = c2;
  w3 = c3;
}

/// Box-Muller on two uniform words. Radius from (a + 1/2) / 2^32, so |normal| <= sqrt(66 log 2) = 6.77.
KOKKOS_FORCEINLINE_FUNCTION void box_muller(std::uint32_t a, std::uint32_t b, float& x, float& y) {
  // Converting through a signed integer keeps the loop in one vector width.
  float const half = static_cast<float>(static_cast<std::int32_t>(a >> 1));
  float const u = (half + 0.25f) * 4.656612873077393e-10f;  // 2^-31
  float const radius = sqrtf(-2.0f * log_fp32(u));
  float s, c;
  sincos_turns(static_cast<float>(static_cast<std::int32_t>(b)) * 2.3283064365386963e-10f, s, c);
  x = radius * c;
  y = radius * s;
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
