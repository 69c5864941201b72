// Which keys of a shard each row of a batch sees: a run of them, from a first one (a sliding window, a context without its first keys) up
// to a limit (a causal mask).
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "tile_range.hpp"
#include "types.hpp"
#include "work_split.hpp"

namespace asymptop {

/// Keys of the context that one row sees: from `begin` to before `end`.
struct KeyRun {
  std::int64_t begin, end;

  constexpr KeyRun(std::int64_t first, std::int64_t limit) : begin(first), end(limit) {}
  std::int64_t size() const { return end - begin; }
  bool holds(std::int64_t key) const { return key >= begin && key < end; }
  /// Pages lie as those of the context do, page p at keys p * page and on, and may be seen in part at either end of the run.
  std::int64_t first_page(std::int64_t page) const { return begin / page; }
  std::int64_t end_page(std::int64_t page) const { return (end + page - 1) / page; }
  std::int64_t pages(std::int64_t page) const { return end_page(page) - first_page(page); }
  /// Those of its keys that it shares with others.
  KeyRun within(std::int64_t first, std::int64_t limit) const {
    auto const from = begin > first ? begin : first, to = end < limit ? end : limit;
    return {from, from > to ? from : to};
  }
  KeyRun of_page(std::int64_t p, std::int64_t page) const { return within(p * page, (p + 1) * page); }
};

/// Keys [from, limit) of every row, on the host. Made of limits alone, rows see their keys from number 0 on.
struct KeyRanges {
  std::vector<std::int64_t> limit;
  std::vector<std::int64_t> from;  ///< none: all are 0

  KeyRanges() = default;
  KeyRanges(std::vector<std::int64_t> limits, std::vector<std::int64_t> firsts = {}) : limit(std::move(limits)), from(std::move(firsts)) {}

  std::size_t size() const { return limit.size(); }
  std::int64_t first(std::size_t row) const { return from.empty() ? 0 : from[row]; }
  /// Those of keys [begin, begin + count) that a row sees, counted from `begin`; {0, 0} where it sees none.
  Part within(std::size_t row, std::int64_t begin, int count) const {
    int const end = count_within(limit[row] - begin, count);
    if (from.empty()) return {0, end};
    int const hidden = count_within(from[row] - begin, count);
    return hidden < end ? Part{hidden, end} : Part{0, 0};
  }
  /// All rows' runs of keys [begin, begin + count), counted from `begin`; empty ones where they see none.
  KeyRanges counted_from(std::int64_t begin, std::int64_t count) const {
    KeyRanges there;
    for (auto const end : limit) there.limit.push_back(std::clamp<std::int64_t>(end - begin, 0, count));
    for (std::size_t i = 0; i < from.size(); ++i) there.from.push_back(std::clamp<std::int64_t>(from[i] - begin, 0, there.limit[i]));
    return there;
  }
  /// The same rows in another order, or some of them.
  KeyRanges of(std::vector<int> const& rows) const {
    KeyRanges some;
    for (auto const row : rows) {
      some.limit.push_back(limit[row]);
      if (!from.empty()) some.from.push_back(from[row]);
    }
    return some;
  }
};

/// The same in a space's memory.
template <class Space>
struct KeyRangesView {
  Vector<Space, std::int64_t> limit;
  Vector<Space, std::int64_t> from;  ///< empty: all are 0

  KeyRangesView() = default;
  KeyRangesView(Vector<Space, std::int64_t> limits, Vector<Space, std::int64_t> firsts = {})
      : limit(std::move(limits)), from(std::move(firsts)) {}

  /// Keys at the start of a tile that a row does not see, and the end of those that it sees; equal where it sees none.
  KOKKOS_FORCEINLINE_FUNCTION int end(TileRange const& tile, int row) const { return visible_keys(tile, limit(row)); }
  KOKKOS_FORCEINLINE_FUNCTION int begin(TileRange const& tile, int row) const {
    if (from.extent(0) == 0) return 0;
    int const hidden = visible_keys(tile, from(row)), last = end(tile, row);
    return hidden < last ? hidden : last;
  }
};

/// A parameter that takes limits alone, too.
template <class Space>
using KeyRangesOf = std::type_identity_t<KeyRangesView<Space>>;

}  // namespace asymptop
