// One batch of query rows over this rank's shard: the two passes over the keys, and what they share.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <vector>

#include "asymptop/kernels/core/tile_range.hpp"
#include "asymptop/kernels/profile/score_bins.hpp"
#include "asymptop/kernels/score/key_tile.hpp"
#include "asymptop/kernels/score/score_packed.hpp"
#include "asymptop/kernels/score/score_tile.hpp"
#include "comm/timing.hpp"
#include "config/errors.hpp"
#include "draw/queries.hpp"
#include "shard/key_walk.hpp"
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

/// Keys that the fused passes take at a time when they are made or read anew: whole strips and leaves, few enough to stay in the cache.
inline constexpr int fused_step = 31 * 512;

/// Keys of a step of a fused pass over `rows` rows. Few rows take resident keys in long steps: their threads spend so little on a short
/// one that waiting for each other would count.
template <class Space>
GlobalIndex step_of(ShardTensors<Space> const& tensors, int rows) {
  return tensors.resident() ? GlobalIndex{fused_step} * std::clamp(64 / rows, 1, 32) : fused_step;
}

/// Shared by both passes over one batch.
template <class Space>
class RowBatch {
 public:
  RowBatch(Space const& space, QueryRows const& queries, GroupPlan const& group, Range const& shard, TileSizes tiles)
      : space_(space), shard_(shard), tiles_(tiles), rows_(static_cast<int>(queries.rows())), d_(static_cast<int>(group.d)) {
    queries_ = to_device(space, "Asymptop::measure::queries", queries.q, queries.rows());
    packed_queries_ = PackedQueries(queries.q.data(), rows_, d_);
    scores_ = Matrix<Space, float>("Asymptop::measure::scores", rows_, tiles.pass);
    make_grid(queries, static_cast<float>(group.bins_per_unit));
    std::vector<std::int64_t> limit;
    for (auto const visible : queries.visible) limit.push_back(std::clamp<std::int64_t>(visible - shard.begin, 0, shard.size()));
    limit_ = to_device(space, "Asymptop::measure::limit", limit);
    limit_host_ = std::move(limit);
  }

  int rows() const { return rows_; }
  BinGrid const& grid() const { return grid_; }
  std::vector<int> const& first_bins() const { return first_bins_host_; }
  Vector<Space, int> const& first_bin() const { return first_bin_; }
  Vector<Space, std::int64_t> const& limit() const { return limit_; }
  std::vector<std::int64_t> const& limits() const { return limit_host_; }
  Matrix<Space, float> const& queries() const { return queries_; }
  PackedQueries const& packed_queries() const { return packed_queries_; }
  GlobalIndex shard_begin() const { return shard_.begin; }
  TileSizes const& tiles() const { return tiles_; }

  /// Calls visit(tile, padded, scores, keys) for each tile of the walk, in ascending order. `phases` gets generate and score times.
  template <class Visit>
  void for_each_tile(ShardTensors<Space>& tensors, KeyWalk& walk, PhaseTimes& phases, Visit const& visit) {
    walk.run(tiles_.pass, [&](LocalIndex const first, int const count) {
      int const padded = (count + tiles_.blas - 1) / tiles_.blas * tiles_.blas;
      TileRange const tile{0, rows_, first, count};
      phases.between_steps();
      phases.start();
      KeyTile const keys = score_keys(tensors, tile, padded, phases);
      space_.fence();
      phases.stop(Phase::score);
      visit(tile, padded, scores_, keys);
    });
  }

 private:
  /// Scores of a tile by the path that the keys' layout is for.
  KeyTile score_keys(ShardTensors<Space>& tensors, TileRange const& tile, int padded, PhaseTimes& phases) {
    if constexpr (is_host_space<Space>) {
      if (tensors.packed()) {
        auto const* packed = tensors.packed_keys(tile.first_key, tile.keys);
        phases.stop(Phase::generate);
        score_packed(space_, packed_queries_, packed, tile.keys, scores_);
        return {packed, d_, true};
      }
    }
    auto const keys = tensors.keys(tile.first_key, tile.keys, padded);
    phases.stop(Phase::generate);
    score_tiles(space_, queries_, keys, scores_, padded, tiles_.blas);
    return {keys.data(), d_, false};
  }

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
  std::vector<std::int64_t> limit_host_;
  Matrix<Space, float> queries_, scores_;
  PackedQueries packed_queries_;
};

}  // namespace asymptop
