// Which keys of a row are kept: an order on its keys, and a kept set at budget k that is the order's first k keys.
//
//   order:       key key key | key key | key key key key | key ... key
//   budgets:             k_1       k_2               k_3
//   segments:         0           1             2              the rest
//
// Sums over the segments (sums_along.hpp) give the error of every kept set at once. A new order is a header beside this one and a line in
// the table.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "../core/candidate.hpp"

namespace asymptop {

/// A total order on the keys of a row.
struct Order {
  char const* name;
  bool (*before)(Candidate const& a, Candidate const& b);
  bool by_score;  ///< best scores first: the first key of any segment has its largest score
};

/// The oracle's: exact top-k.
inline constexpr Order by_score{"score", [](Candidate const& a, Candidate const& b) { return before(a, b); }, true};

inline constexpr std::array orders{by_score};

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

/// The largest score of a segment, whose keys `keys` holds in order.
inline float largest_score(Order const& order, std::vector<Candidate> const& keys, Segment const& segment) {
  auto const first = keys.begin() + segment.begin, last = keys.begin() + segment.end;
  if (order.by_score) return first->score;
  return std::max_element(first, last, [](Candidate const& a, Candidate const& b) { return a.score < b.score; })->score;
}

}  // namespace asymptop
