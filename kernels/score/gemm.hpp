// The only place that calls a BLAS: batches of small fp32 products of one fixed shape, cblas on the host, cuBLAS on CUDA.
//
// A BLAS result depends on the shape of the call (and its thread count), so every product here has the shape that its caller fixes,
// host calls run single-threaded (the caller's program sets that), and the batch is what is spread over threads.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>

#include "core/types.hpp"

#ifdef KOKKOS_ENABLE_CUDA
#include <cublas_v2.h>

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
    // Row-major C = A B is column-major C^T = B^T A^T. True fp32: no TF32.
    static cublasHandle_t const handle = [] {
      cublasHandle_t made = nullptr;
      if (cublasCreate(&made) != CUBLAS_STATUS_SUCCESS) throw std::runtime_error("cuBLAS does not start");
      cublasSetMathMode(made, CUBLAS_PEDANTIC_MATH);
      return made;
    }();
    cublasSetStream(handle, space.cuda_stream());
    float const one = 1.0f, zero = 0.0f;
    auto const status =
        cublasSgemmStridedBatched(handle, g.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N, g.columns, g.rows, g.inner, &one, g.b,
                                  g.b_row, g.b_step, g.a, g.a_row, g.a_step, &zero, g.c, g.c_row, g.c_step, g.batch);
    if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error("cuBLAS sgemm failed");
#endif
  }
}

}  // namespace asymptop
