// Scores into bins: two 32-bit additions a score in shared memory, taken apart before either can overflow.
#include <algorithm>

#include "arithmetic.cuh"
#include "common.cuh"
#include "profile.hpp"

namespace asymptop::device {
namespace {

// Of a bin's scores: the sum of r + 2^13, at most 2^14 each, of at most 2^17 keys; and count * 2^20 + sum of r^2, at most 2^7 each, which
// is taken away when its count reaches `fullest`. A barrier after every four scores a thread leaves it less than 2^12 by then.
constexpr int threads = 256, at_once = 4, bias = 1 << 13, count_shift = 20, fullest = 2048;
constexpr int keys_of_block = 1 << 15;
static_assert(fullest + threads * at_once < 4096 && keys_of_block <= 1 << 17);

/// Block (part of the chunk, row).
__global__ void __launch_bounds__(threads) bin_scores(ProfileArguments const a) {
  extern __shared__ unsigned shared[];
  unsigned *const firsts = shared, *const seconds = shared + a.bins;
  int const row = block_y(), thread = thread_index();
  std::int64_t const part = std::int64_t{blockIdx.x} * keys_of_block, last = min(part + keys_of_block, std::int64_t{a.count});
  std::int64_t const begin = max(part, (a.from == nullptr ? 0 : a.from[row]) - a.first), end = min(last, a.limits[row] - a.first);
  if (begin >= end) return;
  for (int b = thread; b < 2 * a.bins; b += threads) shared[b] = 0;
  __syncthreads();
  float const* const scores = a.scores + row * a.stride;
  int const first_bin = a.first_bin[row];
  std::int64_t* const moments = a.moments + std::int64_t{row} * a.bins * 3;
  // A score goes into its bin; true where that one is to be emptied.
  auto const add = [&](float score, int& bin) {
    auto const at = bin_of(score, a.bins_per_unit, first_bin, a.bins);
    bin = at.bin;
    atomicAdd(&firsts[at.bin], static_cast<unsigned>(at.r + bias));
    return atomicAdd(&seconds[at.bin], (1u << count_shift) + static_cast<unsigned>(at.r2)) >> count_shift == fullest - 1;
  };
  auto const empty = [&](int bin) {
    unsigned const taken = atomicExch(&seconds[bin], 0u);
    std::int64_t const count = taken >> count_shift;
    add_integer(moments + 3 * bin, count);
    add_integer(moments + 3 * bin + 1, -count * bias);
    add_integer(moments + 3 * bin + 2, taken & ((1u << count_shift) - 1u));
  };
  // In fours that lie together.
  for (std::int64_t base = begin / at_once * at_once; base < end; base += threads * at_once) {
    std::int64_t const i = base + thread * at_once;
    if (i < end) {
      float4 const four = *reinterpret_cast<float4 const*>(scores + i);
      float const all[at_once] = {four.x, four.y, four.z, four.w};
      int bin[at_once];
      bool full[at_once] = {};
      if (i >= begin && i + at_once <= end) {
#pragma unroll
        for (int l = 0; l < at_once; ++l) full[l] = add(all[l], bin[l]);
      } else {
        for (int l = 0; l < at_once; ++l) full[l] = i + l >= begin && i + l < end && add(all[l], bin[l]);
      }
      if (full[0] || full[1] || full[2] || full[3]) {
        for (int l = 0; l < at_once; ++l) {
          if (full[l]) empty(bin[l]);
        }
      }
    }
    __syncthreads();
  }
  for (int b = thread; b < a.bins; b += threads) {
    unsigned const second = seconds[b];
    std::int64_t const count = second >> count_shift;
    if (firsts[b] == 0 && second == 0) continue;
    if (count != 0) add_integer(moments + 3 * b, count);
    add_integer(moments + 3 * b + 1, std::int64_t{firsts[b]} - count * bias);
    add_integer(moments + 3 * b + 2, second & ((1u << count_shift) - 1u));
  }
}

/// Where a row's bins are too many for shared memory.
__global__ void __launch_bounds__(threads) bin_scores_apart(ProfileArguments const a) {
  int const row = block_y();
  std::int64_t const key = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (key >= a.count || a.first + key >= a.limits[row] || (a.from != nullptr && a.first + key < a.from[row])) return;
  auto const at = bin_of(a.scores[row * a.stride + key], a.bins_per_unit, a.first_bin[row], a.bins);
  std::int64_t* const moments = a.moments + (std::int64_t{row} * a.bins + at.bin) * 3;
  add_integer(moments, 1);
  add_integer(moments + 1, at.r);
  add_integer(moments + 2, at.r2);
}

}  // namespace

void add_profile(Stream stream, ProfileArguments const& a) {
  if (a.count == 0 || a.rows == 0) return;
  auto const grid = [&](int keys) { return dim3(blocks(a.count, keys), blocks(a.rows)); };
  std::size_t const shared = a.bins * 2 * sizeof(unsigned);
  if (shared <= 200 * 1024) {
    allow_shared(bin_scores, 200 * 1024);
    bin_scores<<<grid(keys_of_block), threads, shared, stream>>>(a);
  } else {
    bin_scores_apart<<<grid(threads), threads, 0, stream>>>(a);
  }
  check_launch("profile");
}

}  // namespace asymptop::device
