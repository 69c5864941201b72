#include "bench/bench_work.hpp"

#include "asymptop/kernels/core/simd.hpp"
#include "bench/kernel_work.hpp"
#include "config/errors.hpp"

namespace asymptop {
namespace {

/// The plain inputs of a study: natural spread of sigma, identity weights, one draw.
QueryRows bench_queries(BenchCase const& item, BenchConfig const& bench, TensorOrigin& origin) {
  RunConfig config;
  config.rows = item.m;
  config.seed = bench.seed;
  GroupPlan group;
  group.n = item.n;
  group.d = item.d;
  DrawIdentity const identity{&config, &group, 0};
  origin = tensor_origin(identity, nullptr);
  return item.m > 0 ? make_queries(identity, nullptr, nullptr) : QueryRows{};
}

}  // namespace

BenchProblem::BenchProblem(Communicator const& communicator, BenchCase const& bench_case, BenchConfig const& config)
    : comm(communicator),
      item(bench_case),
      block(config.block),
      shard(key_shard(bench_case.n, config.block, communicator.rank(), communicator.size())) {
  for (int r = 0; r < comm.size(); ++r) shard_begin.push_back(key_shard(item.n, block, r, comm.size()).begin);
  queries = bench_queries(item, config, origin);
}

std::vector<BenchPath> const& bench_paths() {
  using enum BenchKernel;
  static std::vector<BenchPath> const paths = [] {
    std::vector<BenchPath> all;
#ifndef KOKKOS_ENABLE_CUDA
    all.push_back({normals, "packed", make_packed_normals});
    // A processor without fused multiply-adds in vectors runs the fused kernels, but slowly: there is BLAS alone.
    if constexpr (simd::width > 4) {
      // Screening wins where 8-bit products are an instruction.
      if constexpr (simd::has_dot4)
        all.insert(all.end(), {{top_k, "screened", make_screened_selection}, {top_k_attention, "screened", make_screened_selection}});
      all.insert(all.end(), {{score, "fused", make_fused_score},
                             {profile, "fused", make_fused_selection},
                             {top_k, "fused", make_fused_selection},
                             {exact_attention, "fused", make_fused_exact_attention},
                             {top_k_attention, "fused", make_fused_selection}});
      if constexpr (!simd::has_dot4)
        all.insert(all.end(), {{top_k, "screened", make_screened_selection}, {top_k_attention, "screened", make_screened_selection}});
    }
#endif
    all.insert(all.end(), {{score, "blas-tile", make_tiled_score},
                           {profile, "blas-tile", make_tiled_selection},
                           {top_k, "blas-tile", make_tiled_selection},
                           {exact_attention, "blas-tile", make_tiled_exact_attention},
                           {top_k_attention, "blas-tile", make_tiled_selection},
                           {normals, "rows", make_normal_rows}});
    return all;
  }();
  return paths;
}

PathsOf paths_of(std::vector<BenchPath> const& paths) {
  return [&paths](BenchKernel kernel) {
    std::vector<std::string> names;
    for (auto const& path : paths) {
      if (path.kernel == kernel) names.push_back(path.name);
    }
    return names;
  };
}

BenchPath const& path_of(std::vector<BenchPath> const& paths, BenchCase const& item) {
  for (auto const& path : paths) {
    if (path.kernel == item.kernel && path.name == item.path) return path;
  }
  throw RunError(std::string(name_of(item.kernel)) + " has no path " + item.path);
}

}  // namespace asymptop
