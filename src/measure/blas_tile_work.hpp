// The portable path of every kernel: BLAS score tiles, then Kokkos kernels over them.
#pragma once

#include <memory>

#include "measure/bench_work.hpp"

namespace asymptop {

std::unique_ptr<BenchWork> make_blas_tile_score(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_blas_tile_profile(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_blas_tile_top_k(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_blas_tile_exact_attention(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_blas_tile_top_k_attention(BenchProblem const& problem);

}  // namespace asymptop
