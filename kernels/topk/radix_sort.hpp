// Sorting packed candidates by score: least-significant-digit radix sort over the bits in which the scores differ.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "../core/candidate.hpp"

namespace asymptop {

/// Sorts into the total order, best first. `spare` is scratch, grown as needed. Linear in the number of candidates but for runs of
/// equal scores that arrive out of index order.
inline void sort_candidates(std::vector<PackedCandidate>& candidates, std::vector<PackedCandidate>& spare) {
  constexpr std::size_t small = 256;
  auto const count = candidates.size();
  if (count <= small) {
    std::sort(candidates.begin(), candidates.end(), std::greater<>());
    return;
  }
  // Digits to add up cost as much as candidates to move: of few candidates more rounds with fewer digits are faster.
  constexpr int most_digit_bits = 12;
  int const digit_bits = count < 4096 ? 8 : most_digit_bits, digits = 1 << digit_bits;
  std::uint32_t low = ~0u, high = 0;
  for (auto const c : candidates) {
    auto const key = score_bits_of(c);
    low = std::min(low, key);
    high = std::max(high, key);
  }
  spare.resize(count);
  // Distance from the largest score, so that ascending digits mean best first.
  int const width = std::bit_width(high - low);
  for (int shift = 0; shift < width; shift += digit_bits) {
    std::array<std::uint32_t, 1 << most_digit_bits> start;
    std::fill_n(start.begin(), digits, 0u);
    auto const digit = [&](PackedCandidate c) { return ((high - score_bits_of(c)) >> shift) & (digits - 1); };
    for (auto const c : candidates) ++start[digit(c)];
    std::uint32_t sum = 0;
    for (int i = 0; i < digits; ++i) {
      auto const here = start[i];
      start[i] = sum;
      sum += here;
    }
    for (auto const c : candidates) spare[start[digit(c)]++] = c;
    candidates.swap(spare);
  }
  // Equal scores: index ascending. They are in that order already when the candidates came in the order of their keys.
  for (std::size_t i = 0; i < count;) {
    std::size_t end = i + 1;
    bool ordered = true;
    for (; end < count && candidates[end] >> 32 == candidates[i] >> 32; ++end) ordered = ordered && candidates[end] < candidates[end - 1];
    if (!ordered) std::sort(candidates.begin() + i, candidates.begin() + end, std::greater<>());
    i = end;
  }
}

}  // namespace asymptop
