// The walk that fused passes share: panels of queries against strips of packed keys, one panel's scores in the cache at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/types.hpp"
#include "../core/work_split.hpp"
#include "panel.hpp"

namespace asymptop {

/// One panel against one strip of keys.
struct PanelStrip {
  PackedQueries::Panel const& panel;
  int begin;             ///< the strip's first key among those of the piece
  GlobalIndex first;     ///< the same, counted as the rows' limits are
  int most;              ///< keys of the strip that some row sees; scores of more are not made
  int seen[panel_rows];  ///< keys of the strip that each row sees
};

inline namespace ASYMPTOP_SIMD_NAME {

/// Calls visit(place, scores) for each strip of the keys in `part` of a piece and each panel that sees some of it; scores(r, j) at
/// scores[r * score_strip + j]. The piece's first key has number `first`; limit[i] keys from number 0 on are seen by row i. Panels
/// worker, worker + workers, ... are taken: under a causal mask rows near one another have about as much to do.
template <class Visit>
void walk_panels(PackedQueries const& queries, std::vector<std::int64_t> const& limit, float const* packed, GlobalIndex first, Part part,
                 int strip, int worker, int workers, Visit const& visit) {
  ScoreStrip scores;
  for (int begin = part.begin; begin < part.end; begin += strip) {
    int const here = std::min(strip, part.end - begin);
    for (std::size_t p = worker; p < queries.panels.size(); p += workers) {
      PanelStrip place{queries.panels[p], begin, first + begin, 0, {}};
      for (int r = 0; r < place.panel.rows; ++r) {
        place.seen[r] = count_within(limit[place.panel.first_row + r] - place.first, here);
        place.most = std::max(place.most, place.seen[r]);
      }
      if (place.most == 0) continue;
      simd::score_panel_of(place.panel.rows)(&queries.data[place.panel.offset], packed + std::ptrdiff_t{begin} * queries.d,
                                             (place.most + key_group - 1) / key_group, queries.d, scores.at, score_strip);
      visit(place, scores.at);
    }
  }
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
