// Top-k alone: every score of a tile that may be among its row's k largest goes into the row's candidates.
#pragma once

#include <Kokkos_Core.hpp>

#include "../core/key_ranges.hpp"
#include "../core/tile_range.hpp"
#include "candidate_buffer.hpp"

namespace asymptop {

/// Appends those of `count` scores that exceed the threshold. Thresholds rise between tiles only.
template <class Space>
KOKKOS_FORCEINLINE_FUNCTION void push_survivors(float const* scores, int count, float threshold, LocalIndex first_key,
                                                PackedCandidate* entries, int* fill) {
  for (int l = 0; l < count; ++l) {
    if (!(scores[l] > threshold)) continue;
    PackedCandidate const entry = pack(scores[l], first_key + l);
    entries[next_place<Space>(*fill)] = entry;
  }
}

/// Whether any of a batch of scores exceeds the threshold. Tiles are padded, so a batch may reach past the keys.
template <int batch>
KOKKOS_FORCEINLINE_FUNCTION int count_above(float const* scores, float threshold) {
  int survivors = 0;
#pragma omp simd reduction(+ : survivors)
  for (int l = 0; l < batch; ++l) survivors += scores[l] > threshold ? 1 : 0;
  return survivors;
}

/// Adds a tile. `scores` is (panel rows, keys); ranges: keys of the shard that the rows of the batch see.
/// Room for tile.keys candidates per row must be free (see prune()).
template <class Space>
void add_candidates(Space const& space, CandidateBuffer<Space> const& candidates, Matrix<Space, float> const& scores,
                    KeyRangesOf<Space> const& ranges, TileRange const& tile) {
  constexpr int batch = batch_size<Space>;
  auto const buffer = candidates;
  Kokkos::parallel_for(
      "Asymptop::topk::add_candidates", team_per_row(space, tile.rows), KOKKOS_LAMBDA(TeamOf<Space> const& team) {
        int const row = tile.first_row + team.league_rank();
        int const hidden = ranges.begin(tile, row), keys = ranges.end(tile, row);
        float const threshold = buffer.threshold(row);
        float const* row_scores = &scores(team.league_rank(), 0);
        PackedCandidate* entries = &buffer.entries(row, 0);
        int* fill = &buffer.fill(row);
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, (keys + batch - 1) / batch), [&](int const b) {
          if (count_above<batch>(row_scores + b * batch, threshold) == 0) return;
          int const count = keys - b * batch < batch ? keys - b * batch : batch, unseen = hidden - b * batch;
          int const from = unseen > 0 ? unseen : 0;
          if (from >= count) return;
          push_survivors<Space>(row_scores + b * batch + from, count - from, threshold, tile.first_key + b * batch + from, entries, fill);
        });
      });
}

}  // namespace asymptop
