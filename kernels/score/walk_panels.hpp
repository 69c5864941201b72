// The walk that fused passes share: panels of queries against strips of packed keys, one panel's scores in the cache at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/key_ranges.hpp"
#include "../core/types.hpp"
#include "../core/work_split.hpp"
#include "alibi.hpp"
#include "panel.hpp"

namespace asymptop {

/// One panel against one strip of keys.
struct PanelStrip {
  PackedQueries::Panel const& panel;
  int begin;             ///< the strip's first key among those of the piece
  GlobalIndex first;     ///< the same, counted as the rows' keys are
  int most;              ///< end of the keys of the strip that some row sees; scores of more are not made
  int seen[panel_rows];  ///< end of the keys of the strip that each row sees, 0 where it sees none
  int from[panel_rows];  ///< the first of them
};

inline namespace ASYMPTOP_SIMD_NAME {

/// Calls visit(place, scores) for each strip of the keys in `part` of a piece and each panel that sees some of it; scores(r, j) at
/// scores[r * score_strip + j]. The piece's first key has number `first`, by which rows' keys are counted. Panels
/// worker, worker + workers, ... are taken: under a causal mask rows near one another have about as much to do.
template <class Visit>
void walk_panels(PackedQueries const& queries, KeyRanges const& ranges, float const* packed, GlobalIndex first, Part part, int strip,
                 int worker, int workers, Visit const& visit) {
  ScoreStrip scores;
  for (int begin = part.begin; begin < part.end; begin += strip) {
    int const here = std::min(strip, part.end - begin);
    for (std::size_t p = worker; p < queries.panels.size(); p += workers) {
      PanelStrip place{queries.panels[p], begin, first + begin, 0, {}, {}};
      for (int r = 0; r < place.panel.rows; ++r) {
        auto const seen = ranges.within(place.panel.first_row + r, place.first, here);
        place.from[r] = seen.begin;
        place.seen[r] = seen.end;
        place.most = std::max(place.most, place.seen[r]);
      }
      if (place.most == 0) continue;
      int const groups = (place.most + key_group - 1) / key_group;
      simd::score_panel_of(place.panel.rows)(&queries.data[place.panel.offset], packed + std::ptrdiff_t{begin} * queries.d, groups,
                                             queries.d, scores.at, score_strip);
      finish_scores(queries, place.panel, place.first, scores.at, groups, score_strip);
      visit(place, scores.at);
    }
  }
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
