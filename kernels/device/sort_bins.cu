// Candidates become heads by way of bins of the scores' ordered bits, narrow where there are many: counted, dealt into their bins, and
// ranked in each by comparing all of it. A candidate's place follows from scores and indices alone, so the order in which bins are filled
// does not matter.
#include <algorithm>

#include "sort_heads.cuh"

namespace asymptop::device {
namespace {

constexpr int coarse = 256;    // bins whose shares are found first
constexpr int bin_most = 128;  // of a bin that heads come from; a row with more is left to others

/// The least or the greatest over a block, to all of it; `space`: a word for each warp.
template <int threads, class Best>
__device__ std::uint32_t best_of_block(std::uint32_t own, std::uint32_t* space, Best const& best) {
  for (int s = 16; s > 0; s >>= 1) own = best(own, __shfl_xor_sync(~0u, own, s));
  __syncthreads();
  if (thread_index() % 32 == 0) space[thread_index() / 32] = own;
  __syncthreads();
  own = space[thread_index() % 32 % (threads / 32)];
  for (int s = 16; s > 0; s >>= 1) own = best(own, __shfl_xor_sync(~0u, own, s));
  return own;
}

/// Sums over a warp's threads up to each.
__device__ std::uint32_t sum_up_to(std::uint32_t own) {
  for (int s = 1; s < 32; s *= 2) {
    std::uint32_t const other = __shfl_up_sync(~0u, own, s);
    if (thread_index() % 32 >= s) own += other;
  }
  return own;
}

/// Block r: a row with more than `over` candidates, at most threads * items.
template <int threads, int items, int bins>
__global__ void __launch_bounds__(threads, 1024 / threads) sort_in_bins_kernel(SortOperands const o, int const over) {
  constexpr int own_bins = bins / threads, warps = threads / 32;
  static_assert(own_bins % 4 == 0 && warps <= 32);
  extern __shared__ std::uint32_t shared[];
  __shared__ std::uint32_t space[warps], share[coarse];
  __shared__ int last_bin, crowded;
  std::int64_t const r = blockIdx.x;
  int const count = o.in.count[r], thread = thread_index(), lane = thread % 32, warp = thread / 32;
  if (count <= over || count > threads * items) return;
  auto const shape = shape_of(o, r);
  std::uint64_t* const head = o.heads + shape.row * o.keep;
  if (shape.wanted <= 0) {
    __syncthreads();  // all have read the count
    for (int at = thread; shape.wanted == 0 && at < o.keep; at += threads) head[at] = 0u;
    if (thread == 0) o.in.count[r] = shape.wanted;
    return;
  }
  int const slots = min(o.keep, threads * items) + bin_most;
  std::uint32_t *const bin = shared, *const slot_below = shared + bins, *const slot_index = slot_below + slots;
  // How far scores lie below the best.
  std::uint32_t below[items], low = ~0u, high = 0;
  std::uint32_t const *const bits = o.in.bits + r * o.in.capacity, *const index = o.in.index + r * o.in.capacity;
#pragma unroll
  for (int i = 0; i < items; ++i) {
    int const at = thread + i * threads;
    below[i] = at < count ? bits[at] : 0u;
  }
  for (int b = 4 * thread; b < bins; b += 4 * threads) *reinterpret_cast<uint4*>(bin + b) = make_uint4(0u, 0u, 0u, 0u);
  for (int c = thread; c < coarse; c += threads) share[c] = 0u;
  if (thread == 0) crowded = 0;
#pragma unroll
  for (int i = 0; i < items; ++i) {
    if (thread + i * threads >= count) continue;
    low = min(low, below[i]);
    high = max(high, below[i]);
  }
  low = best_of_block<threads>(low, space, [](std::uint32_t a, std::uint32_t b) { return a < b ? a : b; });
  high = best_of_block<threads>(high, space, [](std::uint32_t a, std::uint32_t b) { return a > b ? a : b; });
  // Coarse bins of equal width, and of each as many fine ones as a part of the candidates wants: `below * factor` is the number of the
  // coarse one and, in its lower half, the place there.
  std::uint64_t const exact = (std::uint64_t{coarse} << 32) / (std::uint64_t{high - low} + 1u);
  std::uint32_t factor = exact > ~0u ? ~0u : static_cast<std::uint32_t>(exact);
  constexpr int seen = (items + 3) / 4;
#pragma unroll
  for (int i = 0; i < items; ++i) {
    below[i] = high - below[i];
    if (i < seen && thread + i * threads < count) atomicAdd(&share[__umulhi(below[i], factor)], 1u);
  }
  __syncthreads();
  if (warp == 0) {
    auto const all = static_cast<std::uint32_t>(min(count, seen * threads));
    std::uint32_t fine[coarse / 32], sum = 0;
#pragma unroll
    for (int c = 0; c < coarse / 32; ++c) {
      fine[c] = 1u + share[lane * (coarse / 32) + c] * (bins - coarse) / all;
      sum += fine[c];
    }
    std::uint32_t first = sum_up_to(sum) - sum;
#pragma unroll
    for (int c = 0; c < coarse / 32; ++c) {
      share[lane * (coarse / 32) + c] = first << 16 | fine[c];
      first += fine[c];
    }
  }
  __syncthreads();
  // Products are made anew in each step: there are no registers for them.
  auto const forget_products = [&]() { asm volatile("" : "+r"(factor)); };
  forget_products();
  auto const bin_of = [&](std::uint32_t x) {
    std::uint64_t const product = std::uint64_t{x} * factor;
    std::uint32_t const of = share[product >> 32];
    return static_cast<int>((of >> 16) + __umulhi(static_cast<std::uint32_t>(product), of & 0xffffu));
  };
#pragma unroll
  for (int i = 0; i < items; ++i) {
    if (thread + i * threads < count) atomicAdd(&bin[bin_of(below[i])], 1u);
  }
  __syncthreads();
  // Counts to beginnings: own bins, warps, block.
  std::uint32_t begin[own_bins], sum = 0;
#pragma unroll
  for (int b = 0; b < own_bins; b += 4) {
    uint4 const four = *reinterpret_cast<uint4 const*>(bin + own_bins * thread + b);
    begin[b] = sum;
    begin[b + 1] = begin[b] + four.x;
    begin[b + 2] = begin[b + 1] + four.y;
    begin[b + 3] = begin[b + 2] + four.z;
    sum = begin[b + 3] + four.w;
  }
  std::uint32_t const up_to = sum_up_to(sum);
  if (lane == 31) space[warp] = up_to;
  __syncthreads();
  std::uint32_t before = 0;
  for (int w = 0; w < warp; ++w) before += space[w];
  before += up_to - sum;
  auto const wanted = static_cast<std::uint32_t>(shape.wanted);
#pragma unroll
  for (int b = 0; b < own_bins; ++b) {
    std::uint32_t const first = begin[b] + before, end = (b + 1 < own_bins ? begin[b + 1] : sum) + before;
    bin[own_bins * thread + b] = first;
    if (first < wanted && end - first > bin_most) crowded = 1;
    if (first < wanted && wanted <= end) last_bin = own_bins * thread + b;
  }
  __syncthreads();
  if (crowded != 0) return;
  int const last = last_bin;
  forget_products();
#pragma unroll
  for (int i = 0; i < items; ++i) {
    int const at = thread + i * threads;
    if (at >= count) continue;
    int const b = bin_of(below[i]);
    if (b > last) continue;
    std::uint32_t const place = atomicAdd(&bin[b], 1u);
    slot_below[place] = below[i];
    slot_index[place] = index[at];
  }
  __syncthreads();
  // Each bin's number is now that of its end. Ranks in bins; neighbours look at the same candidates.
  int const end = static_cast<int>(bin[last]);
  for (int s = thread; s < end; s += threads) {
    std::uint32_t const own = slot_below[s], key = slot_index[s];
    int const b = bin_of(own);
    int const first = b == 0 ? 0 : static_cast<int>(bin[b - 1]), past = static_cast<int>(bin[b]);
    int rank = first, equal = 0;
#pragma unroll 1
    for (int j = first; j < past; ++j) {
      std::uint32_t const other = slot_below[j];
      rank += other < own ? 1 : 0;
      equal += other == own ? 1 : 0;
    }
    for (int j = first; equal > 1 && j < past; ++j) rank += slot_below[j] == own && slot_index[j] < key ? 1 : 0;
    if (rank >= shape.wanted) continue;
    head[rank] = packed(high - own, key);
    if (rank == shape.wanted - 1) o.in.count[r] = o.thresholds != nullptr && high - own < least_last(o.thresholds[r], o.softcap) ? -1 : 0;
  }
  for (int at = shape.wanted + thread; at < o.keep; at += threads) head[at] = 0u;
}

}  // namespace

void sort_in_bins(Stream stream, SortOperands const& o, int rows) {
  int over = -1;
  auto const up_to = [&](int threads, int items, int bins, auto* const kernel) {
    // A size that no row can have is not started.
    if (over < o.in.capacity) {
      std::size_t const shared = (bins + 2 * (std::min(o.keep, threads * items) + bin_most)) * sizeof(std::uint32_t);
      allow_shared(kernel, shared);
      kernel<<<blocks(rows), threads, shared, stream>>>(o, over);
      check_launch("sort of heads in bins");
    }
    over = threads * items;
  };
  up_to(256, 10, 1024, sort_in_bins_kernel<256, 10, 1024>);
  up_to(512, 10, 2048, sort_in_bins_kernel<512, 10, 2048>);
  up_to(512, 20, 4096, sort_in_bins_kernel<512, 20, 4096>);
  up_to(1024, 24, 8192, sort_in_bins_kernel<1024, 24, 8192>);
}

}  // namespace asymptop::device
