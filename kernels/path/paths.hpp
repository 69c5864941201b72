// Which paths a space has, best first, and what makes their batches.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../core/simd.hpp"
#include "batch.hpp"
#include "device.hpp"
#include "fused.hpp"
#include "tiles.hpp"

namespace asymptop {

template <class Space>
struct PathMaker {
  Path const* path;
  std::unique_ptr<PathBatch<Space>> (*make)(Space const&, PathRows const&, TileSizes const&);
  OwnedAttention<Space> (*attention)(Space const&, PathRows const&, TileSizes const&, typename AttentionPass<Space>::Options const&);
  bool fast;  ///< worth its while on this processor
};

template <class Space, class Batch>
std::unique_ptr<PathBatch<Space>> make_batch(Space const& space, PathRows const& rows, TileSizes const& tiles) {
  return std::make_unique<Batch>(space, rows, tiles);
}

/// The paths of this build, the best first.
template <class Space>
std::vector<PathMaker<Space>> path_makers() {
  std::vector<PathMaker<Space>> all;
  if constexpr (is_host_space<Space>) {
    // A processor without fused multiply-adds in vectors runs the fused kernels, but slowly: BLAS is better.
    constexpr bool fast = simd::width > 4;
    all.push_back({&fused_path, make_batch<Space, FusedBatch<Space>>, attention_of<Space, FusedBatch<Space>>, fast});
    // Screening wins where bytes are multiplied in vectors.
    all.insert(fast ? all.begin() : all.end(),
               {&screened_path, make_batch<Space, ScreenedBatch<Space>>, attention_of<Space, ScreenedBatch<Space>>, fast});
  }
  all.push_back({&tiles_path, make_batch<Space, TiledBatch<Space>>, attention_of<Space, TiledBatch<Space>>, true});
#ifdef ASYMPTOP_DEVICE
  if constexpr (is_host_space<Space>) {
    if (device::gpu().usable) {
      all.push_back({&device_path, make_batch<Space, DeviceBatch<Space>>, attention_on_device<Space>, true});
      all.push_back({&bfloat_path, make_batch<Space, BfloatBatch<Space>>, attention_of<Space, BfloatBatch<Space>>, true});
    }
  }
#endif
  return all;
}

}  // namespace asymptop
