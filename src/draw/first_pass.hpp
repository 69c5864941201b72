// The first pass over a rank's keys: profile and top-k of every row, by BLAS tiles or fused.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "asymptop/kernels/profile/fused_first_pass.hpp"
#include "asymptop/kernels/profile/profile_top_k.hpp"
#include "asymptop/kernels/topk/radix_sort.hpp"
#include "asymptop/kernels/topk/screened_pass.hpp"
#include "draw/row_batch.hpp"

namespace asymptop {

/// What the first pass leaves on this rank: the shard's part of each row's profile, and its best candidates.
struct ShardRows {
  Tensor3<Kokkos::HostSpace, std::int64_t> moments;       ///< (rows, bins, 3)
  std::function<std::vector<PackedCandidate>(int)> head;  ///< of a row, best first, at most `keep`; from any thread
};

/// Steps of the tiled pass between two looks at the candidate buffers.
inline constexpr int prune_every = 8;

/// Most keys that arrive between two such looks.
inline int candidate_headroom(TileSizes const& tiles) { return prune_every * tiles.pass; }

/// Profile and top-k of a walk's keys in BLAS tiles, into a fresh state.
template <class Space>
void tiled_first_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, ProfileTopK<Space>& state, KeyWalk& walk,
                      PhaseTimes& phases) {
  // Room for several steps, so that buffers are looked at only every few.
  int const headroom = candidate_headroom(batch.tiles());
  int step = 0;
  batch.for_each_tile(tensors, walk, phases, [&](TileRange const& tile, int, Matrix<Space, float> const& scores, KeyTile const&) {
    if (state.since_flush + tile.keys > packed_limit) flush(space, state);
    if (step++ % prune_every == 0) prune(space, state.candidates, headroom);
    add_tile(space, state, scores, batch.limit(), tile);
    state.since_flush += tile.keys;
    space.fence();
    phases.stop(Phase::select);
  });
  flush(space, state);
  prune(space, state.candidates, static_cast<int>(state.candidates.entries.extent(1)));
  space.fence();
  phases.stop(Phase::select);
}

/// Top-k of the shard alone, into an empty buffer.
template <class Space>
void tiled_top_k(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, CandidateBuffer<Space> const& candidates,
                 PhaseTimes& phases) {
  int const headroom = candidate_headroom(batch.tiles());
  int step = 0;
  KeyWalk walk(tensors.size());
  batch.for_each_tile(tensors, walk, phases, [&](TileRange const& tile, int, Matrix<Space, float> const& scores, KeyTile const&) {
    if (step++ % prune_every == 0) prune(space, candidates, headroom);
    add_candidates(space, candidates, scores, batch.limit(), tile);
    space.fence();
    phases.stop(Phase::select);
  });
  prune(space, candidates, static_cast<int>(candidates.entries.extent(1)));
  space.fence();
  phases.stop(Phase::select);
}

/// A row's candidates from pruned buffers, for any number of rows at once.
template <class Space>
std::function<std::vector<PackedCandidate>(int)> heads_of(Space const& space, CandidateBuffer<Space> const& candidates) {
  // Pruned rows hold at most `keep` entries; the buffers are much longer.
  auto const& buffer = candidates.entries;
  Matrix<Space, PackedCandidate> const kept(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::measure::kept"), buffer.extent(0),
                                            std::min<std::size_t>(static_cast<std::size_t>(candidates.keep), buffer.extent(1)));
  Kokkos::deep_copy(space, kept, Kokkos::subview(buffer, Kokkos::ALL, std::make_pair(std::size_t{0}, kept.extent(1))));
  space.fence();
  auto const entries = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), kept);
  auto const fill = to_host(candidates.fill);
  return [entries, fill](int row) {
    std::vector<PackedCandidate> head(entries.data() + static_cast<std::size_t>(row) * entries.extent(1),
                                      entries.data() + static_cast<std::size_t>(row) * entries.extent(1) + fill(row)),
        spare;
    sort_candidates(head, spare);
    return head;
  };
}

/// Keys of the sample that first thresholds are guessed from; only shards of many times that are sampled.
inline constexpr int guess_sample = 8192, guess_worthwhile = 32;

/// A walk's keys through a fused pass.
template <class Space>
void run_fused_pass(Space const& space, FusedFirstPass<Space>& pass, ShardTensors<Space>& tensors, KeyWalk& walk, PhaseTimes& phases) {
  walk.run(step_of(tensors, pass.rows()), [&](LocalIndex const first, int const count) {
    phases.between_steps();
    phases.start();
    auto const* packed = tensors.packed_keys(first, count);
    phases.stop(Phase::generate);
    pass.add(space, packed, first, count);
    phases.stop(Phase::select);
  });
}

/// Thresholds to start from, where a sample helps. They leave candidates enough of as few keys as the walk may see.
template <class Space, class Pass>
void guess_first_thresholds(Space const& space, Pass& pass, ShardTensors<Space>& tensors, KeyWalk const& walk) {
  auto const keys = walk.keys_of_first_part();
  if (keys >= std::int64_t{guess_sample} * guess_worthwhile && pass.guess_would_help(guess_sample, keys))
    pass.guess_thresholds(space, tensors.packed_sample(guess_sample / key_group).data(), guess_sample, tensors.size(), keys);
}

/// Heads of a pass that has seen a walk's keys. Rows whose guessed threshold left them short get another pass of their own, without a
/// guess.
template <class Space, class Pass>
std::function<std::vector<PackedCandidate>(int)> complete_heads(Space const& space, std::shared_ptr<Pass> const& pass,
                                                                RowBatch<Space>& batch, ShardTensors<Space>& tensors, int keep,
                                                                KeyWalk const& walk, PhaseTimes& phases) {
  using Again = FusedFirstPass<Space>;
  auto const rows = pass->short_rows(walk.keys_seen());
  std::shared_ptr<Again> again;
  auto queries = std::make_shared<PackedQueries>();
  if (!rows.empty()) {
    auto const d = static_cast<std::size_t>(batch.packed_queries().d);
    std::vector<float> q;
    std::vector<std::int64_t> limits;
    for (int const row : rows) {
      q.insert(q.end(), &batch.queries()(row, 0), &batch.queries()(row, 0) + d);
      limits.push_back(batch.limits()[static_cast<std::size_t>(row)]);
    }
    *queries = PackedQueries(q.data(), static_cast<int>(rows.size()), static_cast<int>(d));
    again = std::make_shared<Again>(*queries, typename Again::Options{keep, false, batch.grid(), space.concurrency()}, batch.first_bin(),
                                    limits);
    KeyWalk same(walk.seen());
    run_fused_pass(space, *again, tensors, same, phases);
  }
  return [pass, again, queries, rows](int row) {
    std::vector<PackedCandidate> spare;
    auto const at = std::find(rows.begin(), rows.end(), row);
    return at == rows.end() ? pass->head(row, spare) : again->head(static_cast<int>(at - rows.begin()), spare);
  };
}

/// The fused first pass over a walk's keys; profile: bins too.
template <class Space>
ShardRows fused_first_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, int keep, bool profile, KeyWalk& walk,
                           PhaseTimes& phases) {
  using Pass = FusedFirstPass<Space>;
  typename Pass::Options const options{keep, profile, batch.grid(), space.concurrency()};
  phases.start();
  auto const pass = std::make_shared<Pass>(batch.packed_queries(), options, batch.first_bin(), batch.limits());
  guess_first_thresholds(space, *pass, tensors, walk);
  phases.stop(Phase::select);
  run_fused_pass(space, *pass, tensors, walk, phases);
  auto heads = complete_heads(space, pass, batch, tensors, keep, walk, phases);
  phases.start();
  Tensor3<Kokkos::HostSpace, std::int64_t> moments;
  if (profile) moments = pass->moments(space);
  phases.stop(Phase::select);
  return {moments, std::move(heads)};
}

/// Top-k of the shard alone, screened in 8 bits: the heads of fused_first_pass, to the bit.
template <class Space>
ShardRows screened_top_k(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, int keep, PhaseTimes& phases) {
  using Pass = ScreenedPass<Space>;
  phases.start();
  auto const pass = std::make_shared<Pass>(batch.packed_queries(), keep, space.concurrency(), batch.limits());
  KeyWalk walk(tensors.size());
  guess_first_thresholds(space, *pass, tensors, walk);
  phases.stop(Phase::select);
  walk.run(step_of(tensors, batch.rows()), [&](LocalIndex const first, int const count) {
    phases.between_steps();
    phases.start();
    auto const* packed = tensors.packed_keys(first, count);
    auto const quantised = tensors.quantised_keys(first, count);
    phases.stop(Phase::generate);
    pass->add(space, packed, quantised, first, count);
    phases.stop(Phase::select);
  });
  return {{}, complete_heads(space, pass, batch, tensors, keep, walk, phases)};
}

/// The first pass of a study: profile and top-k of a walk's keys on the path that the keys' layout is for.
template <class Space>
ShardRows first_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, int keep, KeyWalk& walk,
                     PhaseTimes& phases) {
  if constexpr (is_host_space<Space>) {
    if (tensors.packed()) return fused_first_pass(space, batch, tensors, keep, true, walk, phases);
  }
  ProfileTopK<Space> state(space, batch.grid(), batch.first_bin(), keep, candidate_headroom(batch.tiles()));
  tiled_first_pass(space, batch, tensors, state, walk, phases);
  return {to_host(state.moments), heads_of(space, state.candidates)};
}

}  // namespace asymptop
