// The first pass over the keys: every score of a tile goes into its row's bins, and into its candidates when it may be among
// the row's k largest.
#pragma once

#include <Kokkos_Core.hpp>

#include "../core/key_ranges.hpp"
#include "../core/tile_range.hpp"
#include "../topk/add_candidates.hpp"
#include "../topk/candidate_buffer.hpp"
#include "score_bins.hpp"

namespace asymptop {

/// Binned moments of a batch of rows.
template <class Space>
struct RowProfile {
  BinGrid grid;
  Vector<Space, int> first_bin;          ///< (rows)
  Matrix<Space, PackedMoments> packed;   ///< (rows, bins) since the last flush
  Tensor3<Space, std::int64_t> moments;  ///< (rows, bins, 3): count, first, second
  GlobalIndex since_flush = 0;           ///< keys

  RowProfile(BinGrid bins, Vector<Space, int> const& first)
      : grid(bins),
        first_bin(first),
        packed("Asymptop::profile::packed", first.extent(0), bins.count),
        moments("Asymptop::profile::moments", first.extent(0), bins.count, 3) {}

  /// Back to the state before any key.
  void clear(Space const& space) {
    Kokkos::deep_copy(space, packed, PackedMoments{0});
    Kokkos::deep_copy(space, moments, 0);
    since_flush = 0;
  }
};

/// Running state of the first pass for a batch of rows over one shard.
template <class Space>
struct ProfileTopK : RowProfile<Space> {
  CandidateBuffer<Space> candidates;

  ProfileTopK(Space const& space, BinGrid bins, Vector<Space, int> const& first, int keep, int headroom)
      : ProfileTopK(bins, first, CandidateBuffer<Space>(space, first.extent_int(0), keep, headroom)) {}
  ProfileTopK(BinGrid bins, Vector<Space, int> const& first, CandidateBuffer<Space> const& of_rows)
      : RowProfile<Space>(bins, first), candidates(of_rows) {}

  /// Back to the state before any key.
  void clear(Space const& space) {
    RowProfile<Space>::clear(space);
    candidates.clear(space);
  }
};

/// Bins `batch` scores and counts those above the threshold. A function of its own, so that the compiler sees through to plain
/// pointers and vectorises. Tiles are padded, so a batch may reach past the keys; what is past them is not used.
template <int batch>
KOKKOS_FORCEINLINE_FUNCTION int bin_batch(float const* scores, BinGrid const grid, int const first_bin, float const threshold,
                                          int* __restrict__ where, PackedMoments* __restrict__ what) {
  float const bins_per_unit = grid.bins_per_unit;
  int const last_bin = grid.count - 1;
  int survivors = 0;
#pragma omp simd reduction(+ : survivors)
  for (int l = 0; l < batch; ++l) {
    float const score = scores[l];
    std::int32_t r, r2;
    int bin;
    bin_score(score, bins_per_unit, first_bin, last_bin, bin, r, r2);
    where[l] = bin;
    what[l] = pack_moments(r, r2);
    survivors += score > threshold ? 1 : 0;
  }
  return survivors;
}

/// Adds a tile. `scores` is (panel rows, keys); ranges: keys of the shard that the rows of the batch see.
/// Room for tile.keys candidates per row must be free (see prune()).
template <class Space>
void add_tile(Space const& space, ProfileTopK<Space>& state, Matrix<Space, float> const& scores, KeyRangesOf<Space> const& ranges,
              TileRange const& tile) {
  constexpr int batch = batch_size<Space>;
  auto const grid = state.grid;
  auto const first_bin = state.first_bin;
  auto const packed = state.packed;
  auto const candidates = state.candidates;
  Kokkos::parallel_for(
      "Asymptop::profile::add_tile", team_per_row(space, tile.rows), KOKKOS_LAMBDA(TeamOf<Space> const& team) {
        int const row = tile.first_row + team.league_rank();
        int const hidden = ranges.begin(tile, row), keys = ranges.end(tile, row);
        int const first = first_bin(row);
        float const threshold = candidates.threshold(row);
        float const* row_scores = &scores(team.league_rank(), 0);
        PackedMoments* bins = &packed(row, 0);
        PackedCandidate* entries = &candidates.entries(row, 0);
        int* fill = &candidates.fill(row);
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, (keys + batch - 1) / batch), [&](int const b) {
          float const* s = row_scores + b * batch;
          int const count = keys - b * batch < batch ? keys - b * batch : batch, unseen = hidden - b * batch;
          int const from = unseen > 0 ? unseen : 0;
          if (from >= count) return;
          int where[batch];
          PackedMoments what[batch];
          int const survivors = bin_batch<batch>(s, grid, first, threshold, where, what);
          for (int l = from; l < count; ++l) {
            add_shared<Space>(bins[where[l]], what[l]);
          }
          if (survivors == 0) return;
          push_survivors<Space>(s + from, count - from, threshold, tile.first_key + b * batch + from, entries, fill);
        });
      });
}

/// Moves one packed bin into the wide moments.
template <class Space>
KOKKOS_FORCEINLINE_FUNCTION void flush_bin(PackedMoments& packed, std::int64_t* moments) {
  if (packed == 0) return;
  BinMoments const m = unpack_moments(packed);
  moments[0] += m.count;
  moments[1] += m.first;
  moments[2] += m.second;
  packed = 0;
}

/// Moves the packed moments into the wide ones. To be called before packed_limit keys have been added since the last call.
template <class Space>
void flush(Space const& space, RowProfile<Space>& state) {
  auto const packed = state.packed;
  auto const moments = state.moments;
  std::int64_t const bins = state.grid.count, rows = packed.extent(0);
  // A thread takes a row where that is enough of them: dividing by the number of bins costs more than the bin.
  std::int64_t const run = is_host_space<Space> ? bins : 1;
  Kokkos::parallel_for(
      "Asymptop::profile::flush", Kokkos::RangePolicy<Space, Kokkos::IndexType<std::int64_t>>(space, 0, rows * bins / run),
      KOKKOS_LAMBDA(std::int64_t const e) {
        PackedMoments* const words = packed.data() + e * run;
        std::int64_t* const wide = moments.data() + e * run * 3;
        for (std::int64_t b = 0; b < run; ++b) flush_bin<Space>(words[b], wide + 3 * b);
      });
  state.since_flush = 0;
}

}  // namespace asymptop
