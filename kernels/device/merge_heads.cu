// Sorted heads of some keys and of later ones become the heads of both, on the device.
#include "common.cuh"

namespace asymptop::device {
namespace {

/// How many of a row's heads, best first and zeros after them, are greater than x.
__device__ int greater_than(std::uint64_t const* heads, int count, std::uint64_t x) {
  int low = 0, high = count;
  while (low < high) {
    int const middle = (low + high) / 2;
    if (heads[middle] > x) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Block (part of the places, row). Indices are complemented in a candidate: that of a later key is smaller by `first` there.
__global__ void __launch_bounds__(256) merge_kernel(HeadsMerge const m) {
  std::int64_t const row = blockIdx.y;
  std::uint64_t const *a = m.earlier + row * m.earlier_keep, *b = m.later + row * m.later_keep;
  std::uint64_t* const heads = m.heads + row * m.keep;
  int const at = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
  int const of_a = greater_than(a, m.earlier_keep, 0), of_b = greater_than(b, m.later_keep, 0), all = of_a + of_b;
  auto const put = [&](int place, std::uint64_t candidate) {
    if (place < m.keep) heads[place] = candidate;
    if (place == m.keep - 1 && m.thresholds != nullptr) m.thresholds[row] = from_ordered(static_cast<std::uint32_t>(candidate >> 32));
  };
  if (at < of_a) {
    // What is greater than x once `first` is taken away: candidates are at least that.
    std::uint64_t const x = a[at];
    put(at + greater_than(b, of_b, x + m.first), x);
  }
  if (at < of_b) {
    std::uint64_t const x = b[at] - m.first;
    put(at + greater_than(a, of_a, x), x);
  }
  if (at >= all && at < m.keep) heads[at] = 0;
  if (at == 0 && all < m.keep && m.thresholds != nullptr) m.thresholds[row] = -INFINITY;
}

}  // namespace

void merge_heads(Stream stream, HeadsMerge const& m) {
  int longest = m.keep;
  longest = longest > m.earlier_keep ? longest : m.earlier_keep;
  longest = longest > m.later_keep ? longest : m.later_keep;
  merge_kernel<<<dim3(blocks(longest, 256), blocks(m.rows)), 256, 0, stream>>>(m);
  check_launch("heads of two steps");
}

}  // namespace asymptop::device
