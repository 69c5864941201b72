// Per-row candidate buffers of a streaming top-k, and their pruning by radix selection.
#pragma once

#include <Kokkos_Core.hpp>
#include <limits>

#include "../core/candidate.hpp"
#include "../core/types.hpp"

namespace asymptop {

/// Rows x capacity buffers of packed candidates. `fill` counts those in use; a key enters when its score exceeds the row's
/// `threshold`. Keys arrive in ascending index order, so a later key that equals the threshold can be dropped.
template <class Space>
struct CandidateBuffer {
  Matrix<Space, PackedCandidate> entries;
  Matrix<Space, PackedCandidate> spare;  ///< device only: compaction cannot run in place there
  Vector<Space, int> fill;
  Vector<Space, float> threshold;
  int keep = 0;

  CandidateBuffer() = default;
  /// `headroom`: most keys that may arrive between two calls of prune().
  CandidateBuffer(Space const& space, int rows, int keep_count, int headroom)
      : entries(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::entries"), rows, capacity_for(keep_count, headroom)),
        fill("Asymptop::topk::fill", rows),
        threshold("Asymptop::topk::threshold", rows),
        keep(keep_count) {
    if constexpr (!is_host_space<Space>)
      spare = Matrix<Space, PackedCandidate>("Asymptop::topk::spare", entries.extent(0), entries.extent(1));
    clear(space);
  }

  void clear(Space const& space) {
    Kokkos::deep_copy(space, fill, 0);
    Kokkos::deep_copy(space, threshold, -std::numeric_limits<float>::infinity());
  }

  static std::size_t capacity_for(int keep_count, int headroom) {
    std::size_t const keep_size = keep_count;
    return keep_size + std::max<std::size_t>(keep_size / 4, 1024) + headroom;
  }
};

/// Largest value `v` such that at least `keep` of the `count` distinct entries are >= v and exactly `keep` are kept by
/// "entry >= v". Radix selection from the top, 11 bits a round, over `histogram` (2048 ints of team scratch). count > keep > 0.
template <class Space, class Team>
KOKKOS_INLINE_FUNCTION PackedCandidate select_bound(Team const& team, PackedCandidate const* entries, int count, int keep, int* histogram) {
  PackedCandidate prefix = 0;
  int wanted = keep;
  for (int shift = 53;; shift = shift > 11 ? shift - 11 : 0) {
    int const width = shift == 0 ? 9 : 11;
    int const above = shift + width;  // bits above this round's digit
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, 2048), [&](int const i) { histogram[i] = 0; });
    team.team_barrier();
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, count), [&](int const i) {
      PackedCandidate const e = entries[i];
      if (above >= 64 || (e >> above) == prefix) add_shared<Space>(histogram[(e >> shift) & ((1u << width) - 1u)], 1);
    });
    team.team_barrier();
    int digit = (1 << width) - 1;
    while (histogram[digit] < wanted) wanted -= histogram[digit--];
    prefix = (prefix << width) | digit;
    bool const done = shift == 0 || histogram[digit] == wanted;
    team.team_barrier();
    if (done) return prefix << shift;
  }
}

/// Moves the entries >= bound to the front. On a device they go through `spare`, because compaction cannot run in place there;
/// `counter` is one int of team scratch.
template <class Space, class Team>
KOKKOS_INLINE_FUNCTION void keep_from(Team const& team, PackedCandidate* entries, int count, PackedCandidate bound, PackedCandidate* spare,
                                      int keep, int* counter) {
  if constexpr (is_host_space<Space>) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      PackedCandidate const e = entries[i];
      entries[kept] = e;
      kept += e >= bound ? 1 : 0;
    }
  } else {
    if (team.team_rank() == 0) *counter = 0;
    team.team_barrier();
    for (int i = team.team_rank(); i < count; i += team.team_size()) {
      if (entries[i] >= bound) spare[Kokkos::atomic_fetch_add(counter, 1)] = entries[i];
    }
    team.team_barrier();
    for (int i = team.team_rank(); i < keep; i += team.team_size()) entries[i] = spare[i];
  }
}

/// Keeps each row's best `keep` entries where fewer than `headroom` free places are left (or always, when `headroom` is the
/// capacity) and raises its threshold to the worst kept score.
template <class Space>
void prune(Space const& space, CandidateBuffer<Space> const& buffer, int headroom) {
  int const rows = buffer.fill.extent_int(0), capacity = buffer.entries.extent_int(1), keep = buffer.keep;
  constexpr int scratch = 2048 * sizeof(int);
  Kokkos::parallel_for(
      "Asymptop::topk::prune", team_per_row(space, rows).set_scratch_size(0, Kokkos::PerTeam(scratch)),
      KOKKOS_LAMBDA(TeamOf<Space> const& team) {
        int const row = team.league_rank();
        int const count = buffer.fill(row);
        if (count + headroom <= capacity || count <= keep) return;
        auto* histogram = static_cast<int*>(team.team_shmem().get_shmem(scratch));
        PackedCandidate* entries = &buffer.entries(row, 0);
        PackedCandidate const bound = select_bound<Space>(team, entries, count, keep, histogram);
        keep_from<Space>(team, entries, count, bound, buffer.spare.data() + row * buffer.spare.extent(1), keep, histogram);
        team.team_barrier();
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          buffer.fill(row) = keep;
          buffer.threshold(row) = score_of(bound);
        });
      });
}

}  // namespace asymptop
