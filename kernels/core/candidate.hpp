// Candidates of the top-k selection and their total order: score descending, then index ascending.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

#include "math.hpp"
#include "types.hpp"

namespace asymptop {

/// A key of one rank's shard in 64 bits: larger is better in the total order. The score's bits are made monotone in the
/// upper half; the lower half holds the complement of the local index, so that equal scores prefer the smaller index.
using PackedCandidate = std::uint64_t;

/// Bits of an fp32 number, ordered as the numbers are (-0 is made +0 first). Not for NaN.
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t ordered_bits(float x) {
  auto const bits = bit_cast<std::uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

KOKKOS_FORCEINLINE_FUNCTION float from_ordered_bits(std::uint32_t ordered) {
  return bit_cast<float>((ordered & 0x80000000u) != 0u ? ordered & 0x7fffffffu : ~ordered);
}

KOKKOS_FORCEINLINE_FUNCTION PackedCandidate pack(float score, LocalIndex index) {
  return (std::uint64_t{ordered_bits(score)} << 32) | ~index;
}

/// The score's ordered bits.
KOKKOS_FORCEINLINE_FUNCTION std::uint32_t score_bits_of(PackedCandidate candidate) { return high_word(candidate); }
KOKKOS_FORCEINLINE_FUNCTION float score_of(PackedCandidate candidate) { return from_ordered_bits(score_bits_of(candidate)); }
KOKKOS_FORCEINLINE_FUNCTION LocalIndex index_of(PackedCandidate candidate) { return ~low_word(candidate); }

/// A key anywhere in the sequence.
struct Candidate {
  float score;
  GlobalIndex index;
};

/// True when `a` comes before `b` in the total order.
KOKKOS_FORCEINLINE_FUNCTION bool before(Candidate const& a, Candidate const& b) {
  return a.score > b.score || (a.score == b.score && a.index < b.index);
}

}  // namespace asymptop
