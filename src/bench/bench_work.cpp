#include "bench/bench_work.hpp"

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
  origin = tensor_origin(identity, nullptr, nullptr);
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
    for (auto const layout : normal_layouts()) all.push_back({normals, layout.name, layout.make});
    // Its candidates are there before the clock starts, by the first path that selects.
    if constexpr (is_host_space<RunSpace>) {
      for (auto const& way : merge_ways())
        all.push_back({merge, way.name, [make = way.make](BenchProblem const& problem) { return make(problem, *run_paths().front()); }});
    }
    for (auto const* path : run_paths()) {
      auto const add = [&](BenchKernel kernel, bool offered, auto const make) {
        if (offered) all.push_back({kernel, path->name, [path, make](BenchProblem const& problem) { return make(problem, *path); }});
      };
      add(score, path->verbs.scores, make_score);
      add(profile, path->verbs.profile, make_profile);
      add(top_k, path->verbs.top_k, make_top_k);
      add(exact_attention, path->verbs.attention, make_exact_attention);
      add(top_k_attention, path->verbs.top_k, make_top_k_attention);
    }
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
