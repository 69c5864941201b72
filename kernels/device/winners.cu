// A block for each row: weights of some candidates at a time, then their values' rows, several at once.
#include "arithmetic.cuh"
#include "common.cuh"
#include "winners.hpp"

namespace asymptop::device {
namespace {

constexpr int threads = 256, width = 64, groups = threads / width;

__global__ void __launch_bounds__(threads) winners_kernel(WinnersArguments const a) {
  __shared__ float weights[threads];
  __shared__ std::uint32_t keys[threads];
  __shared__ unsigned long long totals[threads];
  std::int64_t const row = blockIdx.x;
  int const thread = static_cast<int>(threadIdx.x), count = a.counts[row], group = thread / width;
  std::uint64_t const* const head = a.heads + row * a.keep;
  auto const factor = static_cast<float>(a.value_factor);
  // Columns a width at a time: the weights are made anew for each.
  for (int first = 0; first < a.d; first += width) {
    int const column = first + thread % width;
    long long sum = 0, weight_sum = 0;
    for (int begin = 0; begin < count; begin += threads) {
      int const here = min(threads, count - begin);
      __syncthreads();
      if (thread < here) {
        // A packed candidate has the score's ordered bits above, the complement of the key's number below (core/candidate.hpp).
        std::uint64_t const candidate = head[begin + thread];
        float const score = from_ordered(static_cast<std::uint32_t>(candidate >> 32));
        float const weight = exp_as_host(__fmul_rn(a.sigma, __fsub_rn(score, a.reference[row])));
        weights[thread] = __fmul_rn(weight, factor);
        keys[thread] = ~static_cast<std::uint32_t>(candidate);
        weight_sum += fixed_of(weight, a.weight_factor);
      }
      __syncthreads();
      if (column < a.d) {
#pragma unroll 8
        for (int w = group; w < here; w += groups)
          sum += __float2ll_rz(__fmul_rn(weights[w], a.values[std::int64_t{keys[w]} * a.d + column]));
      }
    }
    totals[thread] = static_cast<unsigned long long>(sum);
    __syncthreads();
    if (group == 0 && column < a.d) {
      for (int g = 1; g < groups; ++g) sum += static_cast<long long>(totals[g * width + thread]);
      a.sums[row * (a.d + 1) + column] = sum;
    }
    __syncthreads();
    if (first > 0) continue;
    if (thread == 0) totals[0] = 0;
    __syncthreads();
    atomicAdd(&totals[0], static_cast<unsigned long long>(weight_sum));
    __syncthreads();
    if (thread == 0) a.sums[row * (a.d + 1) + a.d] = static_cast<long long>(totals[0]);
  }
}

}  // namespace

void sum_winners(Stream stream, WinnersArguments const& arguments) {
  winners_kernel<<<static_cast<unsigned>(arguments.rows), threads, 0, stream>>>(arguments);
  check_launch("sums of winners");
}

}  // namespace asymptop::device
