// Candidates in the order of keys become heads: sorted by score, stably, so that equal scores stay in the order of keys.
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>

#include "sort_heads.cuh"

namespace asymptop::device {
namespace {

/// Block r: a row with more than `over` candidates, at most threads * items. digit_bits of a score are sorted by at a time.
template <int threads, int items, int digit_bits>
__global__ void __launch_bounds__(threads) sort_rows(SortOperands const o, int const over) {
  using Sort = cub::BlockRadixSort<std::uint32_t, threads, items, std::uint32_t, digit_bits>;
  using Reduce = cub::BlockReduce<std::uint32_t, threads>;
  extern __shared__ unsigned char space[];
  __shared__ std::uint32_t least, range;
  std::int64_t const r = blockIdx.x;
  int const count = o.in.count[r], thread = thread_index();
  if (count <= over || count > threads * items) return;
  auto const shape = shape_of(o, r);
  if (shape.wanted < 0) {
    __syncthreads();
    if (thread == 0) o.in.count[r] = -1;
    return;
  }
  std::uint32_t bits[items], index[items], low = ~0u, high = 0;
  for (int i = 0; i < items; ++i) {
    int const at = thread * items + i;
    bits[i] = at < count ? o.in.bits[r * o.in.capacity + at] : 0u;
    index[i] = at < count ? o.in.index[r * o.in.capacity + at] : 0u;
    if (at < count) {
      low = min(low, bits[i]);
      high = max(high, bits[i]);
    }
  }
  auto& reduce = *reinterpret_cast<typename Reduce::TempStorage*>(space);
  low = Reduce(reduce).Reduce(low, [](std::uint32_t a, std::uint32_t b) { return a < b ? a : b; });
  __syncthreads();
  high = Reduce(reduce).Reduce(high, [](std::uint32_t a, std::uint32_t b) { return a > b ? a : b; });
  if (thread == 0) {
    least = low;
    range = high - low + 1u;
  }
  __syncthreads();
  // Only digits that differ are sorted; what fills the last places is less than all.
  for (int i = 0; i < items; ++i) bits[i] = thread * items + i < count ? bits[i] - least + 1u : 0u;
  Sort(*reinterpret_cast<typename Sort::TempStorage*>(space))
      .SortDescendingBlockedToStriped(bits, index, 0, 32 - __clz(static_cast<int>(range)));
  for (int i = 0; i < items; ++i) {
    int const at = i * threads + thread;
    if (at >= o.keep) continue;
    std::uint32_t const whole = bits[i] + (least - 1u);
    o.heads[shape.row * o.keep + at] = at < shape.wanted ? packed(whole, index[i]) : 0u;
    if (at == shape.wanted - 1 && o.thresholds != nullptr && whole < least_last(o.thresholds[r], o.softcap)) o.in.count[r] = -1;
  }
  for (int at = threads * items + thread; at < o.keep; at += threads) o.heads[shape.row * o.keep + at] = 0u;
}

template <int threads, int items, int digit_bits>
void sort_in_blocks(Stream stream, SortOperands const& o, int rows, int over) {
  using Sort = cub::BlockRadixSort<std::uint32_t, threads, items, std::uint32_t, digit_bits>;
  using Reduce = cub::BlockReduce<std::uint32_t, threads>;
  constexpr std::size_t shared = sizeof(typename Sort::TempStorage) > sizeof(typename Reduce::TempStorage)
                                     ? sizeof(typename Sort::TempStorage)
                                     : sizeof(typename Reduce::TempStorage);
  allow_shared(sort_rows<threads, items, digit_bits>, shared);
  sort_rows<threads, items, digit_bits><<<blocks(rows), threads, shared, stream>>>(o, over);
  check_launch("sort of heads");
}

__global__ void pack_heads(SortOperands const o, RowCandidates const sorted) {
  std::int64_t const r = blockIdx.y, at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  auto const shape = shape_of(o, r);
  if (at >= o.keep) return;
  std::int64_t const from = r * sorted.capacity + at;
  o.heads[shape.row * o.keep + at] = at < shape.wanted ? packed(sorted.bits[from], sorted.index[from]) : 0u;
}

/// Where a row's candidates begin or end.
struct Edge {
  int const* count;  ///< null: the beginning
  int capacity;
  __host__ __device__ std::int64_t operator()(std::int64_t r) const { return r * capacity + (count == nullptr ? 0 : count[r]); }
};

cudaError_t sort_segments(void* space, std::size_t& bytes, RowCandidates const& in, RowCandidates const& out, int rows, Stream stream) {
  thrust::counting_iterator<std::int64_t> const row(0);
  auto const begin = thrust::make_transform_iterator(row, Edge{nullptr, in.capacity});
  auto const end = thrust::make_transform_iterator(row, Edge{in.count, in.capacity});
  return cub::DeviceSegmentedRadixSort::SortPairsDescending(space, bytes, in.bits, out.bits, in.index, out.index,
                                                            std::int64_t{rows} * in.capacity, rows, begin, end, 0, 32, stream);
}

}  // namespace

std::size_t sort_bytes_of(int rows, int keep) {
  if (keep <= block_sort_most) return 0;
  std::size_t bytes = 0;
  RowCandidates const none{nullptr, nullptr, nullptr, keep};
  check(sort_segments(nullptr, bytes, none, none, rows, nullptr), "size of a sort");
  return bytes;
}

void sort_heads(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, RowCandidates const& candidates,
                int const* list, int rows, float const* thresholds) {
  bool const partial = plan.known && list == nullptr;
  SortOperands const o{candidates,        list,    arguments.limits, arguments.from, thresholds,
                       arguments.softcap, partial, plan.keep,        arguments.heads};
  if (candidates.capacity > block_sort_most) {
    std::size_t bytes = work.sort_bytes;
    check(sort_segments(work.sort_space, bytes, candidates, work.sorted, rows, stream), "sort of heads");
    dim3 const grid(blocks(plan.keep, 256), blocks(rows));
    pack_heads<<<grid, 256, 0, stream>>>(o, work.sorted);
    check_launch("heads");
    return;
  }
  if (candidates.capacity <= 1280) {
    sort_in_blocks<256, 5, 4>(stream, o, rows, -1);
    return;
  }
  // By bins; what is left of ties and the like by digits.
  sort_in_bins(stream, o, rows);
  auto* const digits = candidates.capacity <= 2560    ? sort_in_blocks<256, 10, 4>
                       : candidates.capacity <= 5120  ? sort_in_blocks<512, 10, 4>
                       : candidates.capacity <= 10240 ? sort_in_blocks<512, 20, 5>
                                                      : sort_in_blocks<512, 48, 5>;
  digits(stream, o, rows, 0);
}

}  // namespace asymptop::device
