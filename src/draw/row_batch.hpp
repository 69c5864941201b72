// One batch of query rows over this rank's shard, on its path.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "draw/queries.hpp"
#include "draw/run_paths.hpp"
#include "shard/partition.hpp"
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

/// What the passes over the keys share.
class RowBatch {
 public:
  RowBatch(RunSpace const& space, QueryRows const& queries, GroupPlan const& group, Range const& shard, GlobalIndex block);

  int rows() const { return rows_.rows; }
  BinGrid const& grid() const { return rows_.grid; }
  std::vector<int> const& first_bins() const { return rows_.first_bin; }
  GlobalIndex shard_begin() const { return shard_.begin; }
  PathBatch<RunSpace>& path() const { return *path_; }

 private:
  Range shard_;
  PathRows rows_;
  std::unique_ptr<PathBatch<RunSpace>> path_;
};

/// Keys of the largest step that a path's passes take, but those over keys that are held.
inline int largest_step(Path const& path, GlobalIndex block) { return std::max(path.step_keys, tile_sizes(RunSpace(), block).pass); }

}  // namespace asymptop
