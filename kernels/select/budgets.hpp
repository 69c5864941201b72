// How budgets cut an order of keys.
//
//   order:       key key key | key key | key key key key | key ... key
//   budgets:             k_1       k_2               k_3
//   segments:         0           1             2              the rest
//
// Sums over the segments (sums_along.hpp) give the error of every kept set at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace asymptop {

/// Places in an order, from `begin` to before `end`.
struct Segment {
  std::int64_t begin, end;
};

/// The segments that budgets cut an order of `keys` keys into, but for the rest behind the last one. k: ascending; those over `held` are
/// left out, unless they keep all keys.
inline std::vector<Segment> segments_of(std::vector<std::int64_t> const& k, std::int64_t held, std::int64_t keys) {
  std::vector<Segment> segments;
  std::int64_t begin = 0;
  for (auto const budget : k) {
    if (budget > held && budget < keys) break;
    auto const end = std::min(budget, keys);
    if (end == begin) break;
    segments.push_back({begin, end});
    begin = end;
  }
  return segments;
}

}  // namespace asymptop
