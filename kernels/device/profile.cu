// Scores into bins: one 64-bit addition a score in the L2 cache, taken apart before a bin's count can overflow.
#include <algorithm>

#include "common.cuh"
#include "profile.hpp"
#include "score_block.cuh"

namespace asymptop::device {
namespace {

// A bin's word as profile/score_bins.hpp packs it: count * 2^49 + sum of (r + 2^13) * 2^21 + sum of r^2, for up to 2^14 - 1 scores.
constexpr int count_shift = 49, first_shift = 21, bias = 1 << 13;
constexpr std::int64_t most_keys = ((1 << 14) - 1) / score_keys * score_keys;

/// The word of one score and its bin, by the operations of bin_score().
__device__ unsigned long long word_of(float score, float bins_per_unit, int first_bin, int bins, int& bin) {
  float const low = static_cast<float>(first_bin), high = static_cast<float>(first_bin + bins - 1);
  float scaled = score * bins_per_unit;
  scaled = scaled > low ? scaled : low;
  scaled = scaled < high ? scaled : high;
  float const nearest = rintf(scaled), residual = scaled - nearest;
  bin = static_cast<int>(nearest) - first_bin;
  int const r = __float2int_rn(residual * 16384.0f), r2 = __float2int_rn(residual * residual * 512.0f);
  return (1ull << count_shift) + (static_cast<unsigned long long>(r + bias) << first_shift) + static_cast<unsigned long long>(r2);
}

/// Block (key tile, row tile) of keys [first, first + count).
__global__ void __launch_bounds__(score_threads) bin_scores(ProfileArguments const a, std::int64_t first, std::int64_t count) {
  score_block(a.queries, nullptr, a.rows, a.keys + first * a.d, count, a.d, [&](int r, std::int64_t key, float score) {
    if (first + key >= a.limits[r]) return;
    int bin = 0;
    unsigned long long const word = word_of(score, a.bins_per_unit, a.first_bin[r], a.bins, bin);
    atomicAdd(reinterpret_cast<unsigned long long*>(a.words) + std::int64_t{r} * a.bins + bin, word);
  });
}

__global__ void take_apart(std::uint64_t* words, std::int64_t count, std::int64_t* moments) {
  std::int64_t const i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  std::uint64_t const word = words[i];
  if (word == 0) return;
  words[i] = 0;
  auto const scores = static_cast<std::int64_t>(word >> count_shift);
  moments[3 * i] += scores;
  moments[3 * i + 1] +=
      static_cast<std::int64_t>(word >> first_shift & ((std::uint64_t{1} << (count_shift - first_shift)) - 1)) - scores * bias;
  moments[3 * i + 2] += static_cast<std::int64_t>(word & ((std::uint64_t{1} << first_shift) - 1));
}

}  // namespace

void add_profile(Stream stream, ProfileArguments const& arguments) {
  auto const shared = score_block_bytes(arguments.d);
  check(cudaFuncSetAttribute(bin_scores, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), "shared memory");
  std::int64_t const words = std::int64_t{arguments.rows} * arguments.bins;
  for (std::int64_t first = 0; first < arguments.count; first += most_keys) {
    std::int64_t const count = std::min(most_keys, arguments.count - first);
    bin_scores<<<score_grid(count, arguments.rows), score_threads, shared, stream>>>(arguments, first, count);
    check_launch("profile");
    take_apart<<<static_cast<unsigned>((words + 255) / 256), 256, 0, stream>>>(arguments.words, words, arguments.moments);
    check_launch("profile");
  }
}

}  // namespace asymptop::device
