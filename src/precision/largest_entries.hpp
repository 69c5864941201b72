// Which entries of a row are its k largest, for several k, without sorting the row.
#pragma once

#include <cstdint>
#include <vector>

namespace asymptop {

/// The k largest entries in the total order (value descending, index ascending): all above `value`, and those equal to it before `end`.
struct LargestEntries {
  double value = 0.0;
  std::int64_t end = 0;

  bool contains(double x, std::int64_t i) const { return (x > value) | ((x == value) & (i < end)); }  // without branches
};

/// row: n entries, none negative, no NaN. k: each from 1 to n, ascending.
std::vector<LargestEntries> largest_entries(double const* row, std::int64_t n, std::vector<std::int64_t> const& k);

}  // namespace asymptop
