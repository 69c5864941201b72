// One batch of query rows over this rank's shard: the two passes over the keys, and what they share.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <vector>

#include "attend/audit.hpp"
#include "attend/segments.hpp"
#include "config/errors.hpp"
#include "measure/queries.hpp"
#include "measure/timing.hpp"
#include "profile/probes.hpp"
#include "profile/profile_top_k.hpp"
#include "score/score_tile.hpp"
#include "shard/shard_tensors.hpp"

namespace asymptop {

template <class Space, class T>
Vector<Space, T> to_device(Space const& space, char const* label, std::vector<T> const& values) {
  Vector<Space, T> view(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), values.size());
  Kokkos::View<T const*, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>> const host(values.data(), values.size());
  Kokkos::deep_copy(space, view, host);
  space.fence();
  return view;
}

template <class Space, class T>
Matrix<Space, T> to_device(Space const& space, char const* label, std::vector<T> const& values, std::size_t rows) {
  std::size_t const columns = rows == 0 ? 0 : values.size() / rows;
  Matrix<Space, T> view(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), rows, columns);
  Kokkos::View<T const**, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>> const host(values.data(), rows,
                                                                                                                      columns);
  Kokkos::deep_copy(space, view, host);
  space.fence();
  return view;
}

template <class View>
auto to_host(View const& view) {
  auto host = Kokkos::create_mirror_view(view);
  Kokkos::deep_copy(host, view);
  return host;
}

/// Sizes of the tiles that a rank works in.
struct TileSizes {
  int blas;  ///< keys of one BLAS call; a function of the block length alone
  int pass;  ///< keys of one step of a pass: a BLAS tile for each thread
};

inline TileSizes tile_sizes(GlobalIndex block) {
  int const blas = tile_keys(block);
  return {blas, blas * tiles_per_step(Kokkos::DefaultExecutionSpace())};
}

/// Shared by both passes over one batch.
template <class Space>
class RowBatch {
 public:
  RowBatch(Space const& space, QueryRows const& queries, GroupPlan const& group, Range const& shard, TileSizes tiles)
      : space_(space), shard_(shard), tiles_(tiles), rows_(static_cast<int>(queries.rows())), d_(static_cast<int>(group.d)) {
    queries_ = to_device(space, "Asymptop::measure::queries", queries.q, queries.rows());
    scores_ = Matrix<Space, float>("Asymptop::measure::scores", rows_, tiles.pass);
    make_grid(queries, static_cast<float>(group.bins_per_unit));
    std::vector<std::int64_t> limit;
    for (auto const visible : queries.visible) limit.push_back(std::clamp<std::int64_t>(visible - shard.begin, 0, shard.size()));
    limit_ = to_device(space, "Asymptop::measure::limit", limit);
  }

  int rows() const { return rows_; }
  BinGrid const& grid() const { return grid_; }
  std::vector<int> const& first_bins() const { return first_bins_host_; }
  Vector<Space, int> const& first_bin() const { return first_bin_; }
  Vector<Space, std::int64_t> const& limit() const { return limit_; }
  Matrix<Space, float> const& queries() const { return queries_; }
  GlobalIndex shard_begin() const { return shard_.begin; }
  TileSizes const& tiles() const { return tiles_; }

  /// Calls visit(tile, scores, keys) for each tile of the shard, in ascending order. `phases` gets generate and score times.
  template <class Visit>
  void for_each_tile(ShardTensors<Space>& tensors, PhaseTimes& phases, Visit const& visit) {
    for (GlobalIndex first = 0; first < shard_.size(); first += tiles_.pass) {
      int const count = static_cast<int>(std::min<GlobalIndex>(tiles_.pass, shard_.size() - first));
      int const padded = (count + tiles_.blas - 1) / tiles_.blas * tiles_.blas;
      TileRange const tile{0, rows_, static_cast<LocalIndex>(first), count};
      phases.start();
      auto const keys = tensors.keys(tile.first_key, count, padded);
      phases.stop(Phase::generate);
      score_tiles(space_, queries_, keys, scores_, padded, tiles_.blas);
      space_.fence();
      phases.stop(Phase::score);
      visit(tile, padded, scores_, keys);
    }
  }

 private:
  void make_grid(QueryRows const& queries, float bins_per_unit) {
    double largest = 0.0;
    int count = 0;
    for (std::size_t i = 0; i < queries.rows(); ++i) {
      double const low = std::floor(static_cast<double>(queries.low[i]) * static_cast<double>(bins_per_unit)) - 2.0;
      double const high = std::ceil(static_cast<double>(queries.high[i]) * static_cast<double>(bins_per_unit)) + 2.0;
      largest = std::max({largest, std::fabs(low), std::fabs(high)});
      if (!(largest < 4e6) || high - low > 1e6)
        throw RunError("the logits of a row may range from " + std::to_string(queries.low[i]) + " to " + std::to_string(queries.high[i]) +
                       ", too wide to profile; check the tensors and --scale");
      first_bins_host_.push_back(static_cast<int>(low));
      count = std::max(count, static_cast<int>(high - low) + 1);
    }
    grid_ = {bins_per_unit, count};
    first_bin_ = to_device(space_, "Asymptop::measure::first_bin", first_bins_host_);
  }

  Space space_;
  Range shard_;
  TileSizes tiles_;
  int rows_, d_;
  BinGrid grid_;
  std::vector<int> first_bins_host_;
  Vector<Space, int> first_bin_;
  Vector<Space, std::int64_t> limit_;
  Matrix<Space, float> queries_, scores_;
};

/// Steps of the first pass between two looks at the candidate buffers.
inline constexpr int prune_every = 8;

/// Most keys that arrive between two such looks.
inline int candidate_headroom(TileSizes const& tiles) { return prune_every * tiles.pass; }

/// The first pass: profile and top-k of the shard, into a fresh state.
template <class Space>
void first_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, ProfileTopK<Space>& state, PhaseTimes& phases) {
  // Room for several steps, so that buffers are looked at only every few.
  int const headroom = candidate_headroom(batch.tiles());
  int step = 0;
  batch.for_each_tile(tensors, phases, [&](TileRange const& tile, int, Matrix<Space, float> const& scores, Matrix<Space, float> const&) {
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
void select_top_k(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, CandidateBuffer<Space> const& candidates,
                  PhaseTimes& phases) {
  int const headroom = candidate_headroom(batch.tiles());
  int step = 0;
  batch.for_each_tile(tensors, phases, [&](TileRange const& tile, int, Matrix<Space, float> const& scores, Matrix<Space, float> const&) {
    if (step++ % prune_every == 0) prune(space, candidates, headroom);
    add_candidates(space, candidates, scores, batch.limit(), tile);
    space.fence();
    phases.stop(Phase::select);
  });
  prune(space, candidates, static_cast<int>(candidates.entries.extent(1)));
  space.fence();
  phases.stop(Phase::select);
}

/// What the second pass computes besides probes.
template <class Space>
struct SecondPass {
  Segments<Space> segments;
  Probes<Space> probes;
  // Attention: one set of sums per law, (rows, boundaries + 1, d + 1); empty when output errors are off.
  std::vector<double> sigmas;
  std::vector<Tensor3<Space, std::int64_t>> sums;
  FixedPoint factor{};
  // Audit.
  Vector<Space, int> audit_rows;
  Matrix<Space, double> audit_queries;
  Vector<Space, double> audit_sigmas;
  Kokkos::View<std::int64_t****, Kokkos::LayoutRight, typename Space::memory_space> audit_sums;
  Vector<Space, double> audit_worst;
};

/// Runs the second pass; `probes_only` when it narrows what an earlier one left open.
template <class Space>
void second_pass(Space const& space, RowBatch<Space>& batch, ShardTensors<Space>& tensors, SecondPass<Space> const& work, bool probes_only,
                 PhaseTimes& phases) {
  auto const tiles = batch.tiles();
  bool const attend = !probes_only && !work.sums.empty();
  Matrix<Space, float> weights;
  Tensor3<Space, float> products;
  if (attend) {
    weights = Matrix<Space, float>("Asymptop::measure::weights", batch.rows(), tiles.pass);
    products = Tensor3<Space, float>("Asymptop::measure::products", tiles.pass / tiles.blas, batch.rows(), batch.queries().extent(1));
  }
  batch.for_each_tile(
      tensors, phases, [&](TileRange const& tile, int padded, Matrix<Space, float> const& scores, Matrix<Space, float> const& keys) {
        add_tile(space, work.probes, scores, batch.limit(), tile);
        space.fence();
        phases.stop(Phase::refine);
        if (!probes_only) {
          add_tile_fp64(space, work.audit_rows, work.audit_queries, work.segments, scores, keys, batch.limit(), tile, batch.shard_begin(),
                        work.audit_sigmas, work.factor.weight, work.audit_sums, work.audit_worst);
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

}  // namespace asymptop
