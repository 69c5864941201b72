// The only place that calls a BLAS: batches of small fp32 products of one fixed shape, cblas on the host, cuBLAS on CUDA.
//
// A BLAS result depends on the shape of the call (and its thread count), so every product here has the shape that its caller fixes,
// host calls run single-threaded (the caller's program sets that), and the batch is what is spread over threads.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>

#include "../core/types.hpp"

#ifdef KOKKOS_ENABLE_CUDA
#include <cublasLt.h>

#include <array>
#include <map>
#include <stdexcept>
#endif
#include <cblas.h>

namespace asymptop {

/// Row-major C[b] (rows x columns) = A[b] (rows x inner) * B[b], where B[b] is (inner x columns), or (columns x inner) when
/// `transposed`. Leading dimensions are row lengths in memory; steps are distances between consecutive b.
struct GemmBatch {
  int rows, columns, inner;
  bool transposed;
  float const* a;
  int a_row;
  std::ptrdiff_t a_step;
  float const* b;
  int b_row;
  std::ptrdiff_t b_step;
  float* c;
  int c_row;
  std::ptrdiff_t c_step;
  int batch;
};

#ifdef KOKKOS_ENABLE_CUDA
/// cuBLAS picks its kernel by the number of products in the batch too, and another kernel may round differently. cuBLASLt lets the
/// caller pick: one algorithm per shape, whatever the batch. Row-major C = A B is column-major C^T = B^T A^T. True fp32: no TF32.
inline void cuda_gemm(cudaStream_t stream, GemmBatch const& g) {
  auto const check = [](cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error("cuBLAS sgemm failed");
  };
  static cublasLtHandle_t const handle = [&] {
    cublasLtHandle_t made = nullptr;
    check(cublasLtCreate(&made));
    return made;
  }();
  cublasLtMatmulDesc_t product = nullptr;
  check(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F));
  cublasOperation_t const operation = g.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &operation, sizeof operation));
  using Layouts = std::array<cublasLtMatrixLayout_t, 3>;
  auto const layouts_of = [&](GemmBatch const& x) {
    Layouts layouts{};
    auto const describe = [&](cublasLtMatrixLayout_t& layout, int rows, int columns, int row_length, std::int64_t step) {
      std::int32_t const batch = x.batch;
      check(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, rows, columns, row_length));
      check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step));
      check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    };
    describe(layouts[0], x.transposed ? x.inner : x.columns, x.transposed ? x.columns : x.inner, x.b_row, x.b_step);
    describe(layouts[1], x.inner, x.rows, x.a_row, x.a_step);
    describe(layouts[2], x.columns, x.rows, x.c_row, x.c_step);
    return layouts;
  };
  auto const destroy = [](Layouts const& layouts) {
    for (auto const layout : layouts) cublasLtMatrixLayoutDestroy(layout);
  };
  static std::map<std::array<int, 4>, cublasLtMatmulAlgo_t> algorithms;
  std::array<int, 4> const shape{g.rows, g.columns, g.inner, g.transposed ? 1 : 0};
  auto found = algorithms.find(shape);
  if (found == algorithms.end()) {
    // Chosen for dense matrices in a batch of the usual length, so that it is a function of the shape alone.
    auto usual = g;
    usual.a_row = g.inner;
    usual.b_row = g.transposed ? g.inner : g.columns;
    usual.c_row = g.columns;
    usual.a_step = std::ptrdiff_t{g.rows} * g.inner;
    usual.b_step = std::ptrdiff_t{g.columns} * g.inner;
    usual.c_step = std::ptrdiff_t{g.rows} * g.columns;
    usual.batch = 31;
    auto const layouts = layouts_of(usual);
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference));
    cublasLtMatmulHeuristicResult_t best{};
    int results = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle, product, layouts[0], layouts[1], layouts[2], layouts[2], preference, 1, &best, &results));
    cublasLtMatmulPreferenceDestroy(preference);
    destroy(layouts);
    if (results == 0) throw std::runtime_error("cuBLAS knows no sgemm of this shape");
    found = algorithms.emplace(shape, best.algo).first;
  }
  auto const layouts = layouts_of(g);
  float const one = 1.0f, zero = 0.0f;
  check(cublasLtMatmul(handle, product, &one, g.b, layouts[0], g.a, layouts[1], &zero, g.c, layouts[2], g.c, layouts[2], &found->second,
                       nullptr, 0, stream));
  destroy(layouts);
  cublasLtMatmulDescDestroy(product);
}
#endif

template <class Space>
void gemm(Space const& space, GemmBatch const& g) {
  if constexpr (is_host_space<Space>) {
    Kokkos::parallel_for("Asymptop::score::gemm", Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, g.batch),
                         [=](int const t) {
                           cblas_sgemm(CblasRowMajor, CblasNoTrans, g.transposed ? CblasTrans : CblasNoTrans, g.rows, g.columns, g.inner,
                                       1.0f, g.a + t * g.a_step, g.a_row, g.b + t * g.b_step, g.b_row, 0.0f, g.c + t * g.c_step, g.c_row);
                         });
  } else {
#ifdef KOKKOS_ENABLE_CUDA
    cuda_gemm(space.cuda_stream(), g);
#endif
  }
}

}  // namespace asymptop
