// A block for each row and some of its candidates: their weights, then their values' rows, several at once. Sums are of integers, so that
// their order does not matter.
#include "arithmetic.cuh"
#include "common.cuh"
#include "winners.hpp"

namespace asymptop::device {
namespace {

constexpr int threads = 256, width = 64, groups = threads / width, block_candidates = 4 * threads;

__global__ void __launch_bounds__(threads) winners_kernel(WinnersArguments const a) {
  __shared__ float weights[threads];
  __shared__ std::uint32_t keys[threads];
  __shared__ unsigned long long totals[threads];
  std::int64_t const row = blockIdx.x;
  int const thread = thread_index(), group = thread / width;
  int const first_candidate = block_y() * block_candidates;
  std::int64_t* const sums = a.sums + row * (a.stride > 0 ? a.stride : a.d + 1);
  int const count = min(a.counts[row], first_candidate + block_candidates);
  std::uint64_t const* const head = a.heads + row * a.keep;
  auto const factor = static_cast<float>(a.value_factor);
  // Columns a width at a time: the weights are made anew for each.
  for (int first = 0; first < a.d; first += width) {
    int const column = first + thread % width;
    long long sum = 0, weight_sum = 0;
    for (int begin = first_candidate; begin < count; begin += threads) {
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
      add_integer(&sums[column], sum);
    }
    __syncthreads();
    if (first == 0 && weight_sum != 0) add_integer(&sums[a.d], weight_sum);
  }
}

__global__ void __launch_bounds__(threads)
    outputs_kernel(std::int64_t const* sums, std::int64_t count, int d, double weight_factor, double value_factor, double* outputs) {
  std::int64_t const at = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (at >= count) return;
  std::int64_t const row = at / d, column = at - row * d;
  std::int64_t const* const own = sums + row * (d + 1);
  // As from_fixed() has it (core/fixed_point.hpp).
  outputs[at] = static_cast<double>(own[column]) / value_factor / (static_cast<double>(own[d]) / weight_factor);
}

/// Block r: row r.
__global__ void __launch_bounds__(threads) combine_kernel(WinnersParts const p) {
  std::int64_t const row = blockIdx.x, width = p.d + 2;
  auto const part_of = [&](int r) { return p.parts + (std::int64_t{r} * p.rows + row) * width; };
  auto const reference_of = [&](int r) { return double{__int_as_float(static_cast<int>(part_of(r)[0]))}; };
  double largest = -INFINITY, weights = 0.0;
  for (int r = 0; r < p.ranks; ++r) largest = fmax(largest, reference_of(r));
  auto const factor_of = [&](int r) { return exp(reference_of(r) - largest); };
  for (int r = 0; r < p.ranks; ++r) weights += factor_of(r) * static_cast<double>(part_of(r)[width - 1]) / p.weight_factor;
  for (int c = thread_index(); c < p.d; c += threads) {
    double sum = 0.0;
    for (int r = 0; r < p.ranks; ++r) sum += factor_of(r) * static_cast<double>(part_of(r)[1 + c]) / p.value_factor;
    p.outputs[row * p.d + c] = sum / weights;
  }
}

}  // namespace

void combine_winners(Stream stream, WinnersParts const& parts) {
  if (parts.rows == 0) return;
  combine_kernel<<<blocks(parts.rows), threads, 0, stream>>>(parts);
  check_launch("outputs of ranks");
}

void winner_outputs(Stream stream, std::int64_t const* sums, int rows, int d, double weight_factor, double value_factor, double* outputs) {
  std::int64_t const count = std::int64_t{rows} * d;
  if (count == 0) return;
  outputs_kernel<<<blocks(count, threads), threads, 0, stream>>>(sums, count, d, weight_factor, value_factor, outputs);
  check_launch("outputs of winners");
}

void sum_winners(Stream stream, WinnersArguments const& arguments) {
  dim3 const grid(blocks(arguments.rows), blocks(arguments.keep, block_candidates));
  winners_kernel<<<grid, threads, 0, stream>>>(arguments);
  check_launch("sums of winners");
}

}  // namespace asymptop::device
