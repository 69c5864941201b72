// Exact counts between scores: what the bins bracket, the second pass settles.
//
// A probe belongs to one bin of one row. It counts the scores of its bin above `high`, with their moments, and collects those
// in (low, high]. With low = high it is a pure count above a threshold.
#pragma once

#include <Kokkos_Core.hpp>

#include "profile_top_k.hpp"
#include "score_bins.hpp"

namespace asymptop {

template <class Space>
struct Probes {
  BinGrid grid;
  Vector<Space, int> first_bin;         ///< (rows)
  Matrix<Space, std::uint16_t> of_bin;  ///< (rows, bins): 1 + the bin's first probe, 0 for none
  Matrix<Space, int> bin;               ///< (rows, probes): a row's probes are sorted by bin; -1 marks the end
  Matrix<Space, float> low;             ///< (rows, probes)
  Matrix<Space, float> high;            ///< (rows, probes)
  Matrix<Space, std::int64_t> begin;    ///< (rows, probes): first place of the probe in `collected`
  Matrix<Space, int> capacity;          ///< (rows, probes)
  Tensor3<Space, std::int64_t> above;   ///< (rows, probes, 3): count, first, second
  Matrix<Space, int> fill;              ///< (rows, probes): scores in (low, high]; beyond capacity they are only counted
  Vector<Space, float> collected;
  Tensor3<Space, std::int64_t> edge;  ///< (rows, 1, 2): scores above and equal to edge_score, counted apart from all else
  Vector<Space, float> edge_score;    ///< (rows)
};

/// Bin numbers of `batch` scores, and how many of [from, count) are above and equal to the edge.
template <int batch>
KOKKOS_FORCEINLINE_FUNCTION void probe_batch(float const* scores, BinGrid const grid, int const first_bin, float const edge, int const from,
                                             int const count, int* __restrict__ where, int& above_edge, int& equal_edge) {
  float const bins_per_unit = grid.bins_per_unit;
  int const last_bin = grid.count - 1;
  int above = 0, equal = 0;
#pragma omp simd reduction(+ : above, equal)
  for (int l = 0; l < batch; ++l) {
    float const score = scores[l];
    std::int32_t r, r2;
    int bin;
    bin_score(score, bins_per_unit, first_bin, last_bin, bin, r, r2);
    where[l] = bin;
    above += ((l >= from) & (l < count) & (score > edge)) ? 1 : 0;
    equal += ((l >= from) & (l < count) & (score == edge)) ? 1 : 0;
  }
  above_edge = above;
  equal_edge = equal;
}

/// Counts a tile for all probes of its rows, and the scores above and equal to each row's edge.
template <class Space>
void add_tile(Space const& space, Probes<Space> const& probes, Matrix<Space, float> const& scores, KeyRangesOf<Space> const& ranges,
              TileRange const& tile) {
  constexpr int batch = batch_size<Space>;
  int const probe_count = probes.bin.extent_int(1);
  auto const p = probes;
  Kokkos::parallel_for(
      "Asymptop::profile::probe", team_per_row(space, tile.rows), KOKKOS_LAMBDA(TeamOf<Space> const& team) {
        int const row = tile.first_row + team.league_rank();
        int const hidden = ranges.begin(tile, row), keys = ranges.end(tile, row);
        int const first = p.first_bin(row);
        float const edge = p.edge_score(row);
        float const* row_scores = &scores(team.league_rank(), 0);
        BinGrid const p_grid = p.grid;
        std::uint16_t const* of_bin = &p.of_bin(row, 0);
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, (keys + batch - 1) / batch), [&](int const b) {
          float const* s = row_scores + b * batch;
          int const count = keys - b * batch < batch ? keys - b * batch : batch, unseen = hidden - b * batch;
          int const from = unseen > 0 ? unseen : 0;
          if (from >= count) return;
          int where[batch];
          int above = 0, equal = 0;
          probe_batch<batch>(s, p_grid, first, edge, from, count, where, above, equal);
          if (above + equal > 0) {
            add_shared<Space>(p.edge(row, 0, 0), std::int64_t{above});
            add_shared<Space>(p.edge(row, 0, 1), std::int64_t{equal});
          }
          for (int l = from; l < count; ++l) {
            int const slot = of_bin[where[l]];
            if (slot == 0) continue;
            for (int q = slot - 1; q < probe_count && p.bin(row, q) == where[l]; ++q) {
              if (s[l] > p.high(row, q)) {
                BinnedScore const binned = bin_score(s[l], p.grid, first);
                add_shared<Space>(p.above(row, q, 0), std::int64_t{1});
                add_shared<Space>(p.above(row, q, 1), std::int64_t{binned.r});
                add_shared<Space>(p.above(row, q, 2), std::int64_t{binned.r2});
              } else if (s[l] > p.low(row, q)) {
                int const place = next_place<Space>(p.fill(row, q));
                if (place < p.capacity(row, q)) p.collected(p.begin(row, q) + place) = s[l];
              }
            }
          }
        });
      });
}

}  // namespace asymptop
