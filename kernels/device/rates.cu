// Yardsticks: cuBLAS at the shape of a case, and a copy.
#include <cublas_v2.h>

#include <algorithm>
#include <vector>

#include "common.cuh"
#include "memory.hpp"

namespace asymptop::device {
namespace {

/// Seconds of ten runs after two to warm up, ascending.
template <class Work>
std::vector<double> timed(Work const& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> seconds;
  for (int run = -2; run < 10; ++run) {
    check(cudaEventRecord(begin), "event");
    work();
    check(cudaEventRecord(end), "event");
    check(cudaEventSynchronize(end), "yardstick");
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    if (run >= 0) seconds.push_back(1e-3 * double{milliseconds});
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

/// Numbers of either sign and many magnitudes: products of zeros would run faster.
__global__ void fill_numbers(float* numbers, std::int64_t count) {
  std::int64_t const step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    auto const bits = static_cast<std::uint32_t>(i) * 2654435761u;
    numbers[i] = __uint_as_float((bits & 0x80ffffffu) | 0x3f000000u);
  }
}

/// The same in bf16: two in 32 bits.
__global__ void fill_pairs(std::uint32_t* pairs, std::int64_t count) {
  std::int64_t const step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    pairs[i] = (static_cast<std::uint32_t>(i) * 2654435761u & 0x80ff80ffu) | 0x3f003f00u;
}

}  // namespace

GpuRates product_rates(int m, std::int64_t keys, int d) {
  auto const bytes = [&](std::int64_t rows, std::int64_t columns) { return static_cast<std::size_t>(rows * columns) * sizeof(float); };
  Memory const a(bytes(m, d) + 64), b(bytes(keys, d) + 64), c(bytes(m, keys));
  cublasHandle_t handle = nullptr;
  auto const ok = [](cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error(std::string("cuBLAS: ") + cublasGetStatusString(status));
  };
  ok(cublasCreate(&handle));
  float const one = 1.0f, zero = 0.0f;
  auto const rate = [&](cudaDataType type, cublasComputeType_t compute) {
    auto const n = static_cast<int>(keys);
    auto const seconds = timed([&] {
      ok(cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, d, &one, b.as<void>(), type, d, a.as<void>(), type, d, &zero, c.as<void>(),
                      CUDA_R_32F, n, compute, CUBLAS_GEMM_DEFAULT));
    });
    return 2e-9 * m * static_cast<double>(keys) * d / seconds[seconds.size() / 2];
  };
  fill_numbers<<<1024, 256>>>(a.as<float>(), std::int64_t{m} * d);
  fill_numbers<<<1024, 256>>>(b.as<float>(), keys * d);
  check_launch("yardstick");
  GpuRates rates;
  rates.fp32_gflops = rate(CUDA_R_32F, CUBLAS_COMPUTE_32F);
  rates.tf32_gflops = rate(CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
  fill_pairs<<<1024, 256>>>(a.as<std::uint32_t>(), std::int64_t{m} * d);
  fill_pairs<<<1024, 256>>>(b.as<std::uint32_t>(), keys * d);
  check_launch("yardstick");
  rates.bf16_gflops = rate(CUDA_R_16BF, CUBLAS_COMPUTE_32F);
  cublasDestroy(handle);
  return rates;
}

double copy_bandwidth() {
  constexpr std::size_t bytes = std::size_t{1} << 31;
  Memory const from(bytes), to(bytes);
  fill_numbers<<<1024, 256>>>(from.as<float>(), bytes / sizeof(float));
  check_launch("yardstick");
  auto const seconds = timed([&] { check(cudaMemcpyAsync(to.as<void>(), from.as<void>(), bytes, cudaMemcpyDeviceToDevice), "copy"); });
  return 2e-9 * static_cast<double>(bytes) / seconds.front();
}

}  // namespace asymptop::device
