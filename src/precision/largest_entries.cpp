#include "precision/largest_entries.hpp"

#include <algorithm>
#include <functional>

#include "kernels/core/math.hpp"

namespace asymptop {
namespace {

/// Entries fall into classes by their exponent and first four bits, whose order is that of the numbers.
constexpr std::size_t classes = 1u << 15;

std::size_t class_of(double x) { return bit_cast<std::uint64_t>(x + 0.0) >> 48; }

}  // namespace

std::vector<LargestEntries> largest_entries(double const* row, std::int64_t n, std::vector<std::int64_t> const& k) {
  std::vector<std::int64_t> count(classes, 0);
  for (std::int64_t i = 0; i < n; ++i) ++count[class_of(row[i])];
  std::vector<LargestEntries> found;
  std::vector<double> members;
  std::size_t held = classes;    // the class that `members` holds
  std::size_t at = classes - 1;  // the class of the k-th entry
  std::int64_t above = 0;        // entries of higher classes
  for (auto const wanted : k) {
    while (above + count[at] < wanted) above += count[at--];
    if (held != at) {
      members.clear();
      for (std::int64_t i = 0; i < n; ++i) {
        if (class_of(row[i]) == at) members.push_back(row[i]);
      }
      held = at;
    }
    auto const nth = members.begin() + (wanted - above - 1);
    std::nth_element(members.begin(), nth, members.end(), std::greater<>());
    LargestEntries entries{*nth, 0};
    auto ties = wanted - above - std::count_if(members.begin(), members.end(), [&](double x) { return x > entries.value; });
    for (std::int64_t i = 0; ties > 0; ++i) {
      ties -= row[i] == entries.value ? 1 : 0;
      entries.end = i + 1;
    }
    found.push_back(entries);
  }
  return found;
}

}  // namespace asymptop
