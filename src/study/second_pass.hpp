// The second pass over a rank's keys: probes, attention split at every k, audit; by BLAS tiles or fused.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <vector>

#include "asymptop/kernels/attend/audit.hpp"
#include "asymptop/kernels/attend/fused_second_pass.hpp"
#include "asymptop/kernels/attend/second_pass.hpp"
#include "draw/row_batch.hpp"

namespace asymptop {

/// The second pass in BLAS tiles.
template <class Space>
void tiled_second_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, SecondPass<Space> const& work,
                       bool probes_only, KeyWalk& walk, PhaseTimes& phases) {
  auto const tiles = batch.tiles();
  bool const attend = !probes_only && !work.sums.empty();
  Matrix<Space, float> weights;
  Tensor3<Space, float> products;
  if (attend) {
    weights = Matrix<Space, float>("Asymptop::measure::weights", batch.rows(), tiles.pass);
    products = Tensor3<Space, float>("Asymptop::measure::products", tiles.pass / tiles.blas, batch.rows(), batch.queries().extent(1));
  }
  batch.for_each_tile(
      tensors, walk, phases, [&](TileRange const& tile, int padded, Matrix<Space, float> const& scores, KeyTile const& keys) {
        add_tile(space, work.probes, scores, batch.limit(), tile);
        space.fence();
        phases.stop(Phase::refine);
        if (!probes_only) {
          add_tile_fp64(space, work.audit_rows, work.audit_queries, work.segments, work.audit_rows, scores, keys, batch.limit(), tile,
                        batch.shard_begin(), work.audit_sigmas, work.factor.weight, work.audit_sums, work.audit_worst);
          space.fence();
          phases.stop(Phase::audit);
        }
        if (!attend) return;
        auto const values = tensors.values(tile.first_key, tile.keys, padded);
        phases.stop(Phase::generate);
        TileRange const all{0, tile.rows, tile.first_key, padded};
        for (std::size_t law = 0; law < work.sums.size(); ++law) {
          add_head_and_weigh_tail(space, work.segments, scores, values, batch.limit(), all, batch.shard_begin(),
                                  static_cast<float>(work.sigmas[law]), work.factor, weights, work.sums[law]);
          weigh_values(space, weights, values, products, padded, tiles.blas);
          add_tail(space, weights, products, tile.rows, padded, tiles.blas, work.segments.used, work.factor, work.sums[law]);
        }
        space.fence();
        phases.stop(Phase::attend);
      });
}

/// The fused second pass; the audit has scores of its own rows.
template <class Space>
void fused_second_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, SecondPass<Space> const& work,
                       bool probes_only, KeyWalk& walk, PhaseTimes& phases) {
  int const d = static_cast<int>(batch.queries().extent(1)), audited = static_cast<int>(work.audit_rows.extent(0));
  FusedSecondPass<Space> const pass(batch.packed_queries(), work,
                                    {batch.tiles().blas, space.concurrency(), batch.shard_begin(), probes_only});
  std::vector<float> q;
  for (int a = 0; a < audited; ++a) q.insert(q.end(), &batch.queries()(work.audit_rows(a), 0), &batch.queries()(work.audit_rows(a), 0) + d);
  PackedQueries const audit_queries(q.data(), audited, d);
  Matrix<Space, float> const audit_scores("Asymptop::measure::audit_scores", static_cast<std::size_t>(audited),
                                          static_cast<std::size_t>(fused_step));
  std::vector<int> order;
  for (int a = 0; a < audited; ++a) order.push_back(a);
  auto const score_rows = to_device(space, "Asymptop::measure::audit_order", order);
  walk.run(fused_step, [&](LocalIndex const local, int const count) {
    phases.between_steps();
    phases.start();
    auto const* packed = tensors.packed_keys(local, count);
    float const* values = pass.attends() ? tensors.values(local, count, count).data() : nullptr;
    phases.stop(Phase::generate);
    pass.add(space, batch.limits(), packed, values, local, count);
    phases.stop(pass.attends() ? Phase::attend : Phase::refine);
    if (probes_only) return;
    score_packed(space, audit_queries, packed, count, audit_scores);
    space.fence();
    add_tile_fp64(space, work.audit_rows, work.audit_queries, work.segments, score_rows, audit_scores, KeyTile{packed, d, true},
                  batch.limit(), {0, batch.rows(), local, count}, batch.shard_begin(), work.audit_sigmas, work.factor.weight,
                  work.audit_sums, work.audit_worst);
    space.fence();
    phases.stop(Phase::audit);
  });
}

/// Runs the second pass over a walk's keys, on top of what `work` holds; `probes_only` when it narrows what an earlier one left open.
template <class Space>
void second_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, SecondPass<Space> const& work, bool probes_only,
                 KeyWalk& walk, PhaseTimes& phases) {
  if constexpr (is_host_space<Space>) {
    if (tensors.packed()) return fused_second_pass(space, batch, tensors, work, probes_only, walk, phases);
  }
  tiled_second_pass(space, batch, tensors, work, probes_only, walk, phases);
}

}  // namespace asymptop
