// Sorted heads of some keys and of later ones become the heads of both; which of a rank's heads a selection over ranks kept.
#include "common.cuh"
#include "heads.hpp"

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
  int const at = blockIdx.x * 256 + threadIdx.x;
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

__global__ void __launch_bounds__(256) last_scores_kernel(HeadsOnDevice const of, int rows, float* scores) {
  std::int64_t const row = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (row >= rows) return;
  std::uint64_t const last = of.heads[row * of.keep + of.keep - 1];
  scores[row] = last == 0 ? -INFINITY : from_ordered(static_cast<std::uint32_t>(last >> 32));
}

__global__ void __launch_bounds__(256) edges_kernel(HeadsOnDevice const of, int rows, std::uint64_t* edges) {
  std::int64_t const row = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (row >= rows) return;
  std::uint64_t const* const head = of.heads + row * of.keep;
  int const all = greater_than(head, of.keep, 0);
  edges[2 * row] = all == 0 ? 0 : head[0];
  edges[2 * row + 1] = all == 0 ? 0 : head[all - 1];
}

__global__ void __launch_bounds__(256) winners_of_heads(WinnersSearch const s) {
  std::int64_t const row = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (row >= s.rows) return;
  std::uint64_t const best = s.edges[2 * row], last = s.edges[2 * row + 1];
  // A head's number over the sequence is smaller by `first`: at least `last` there is more than last - 1 + first here.
  s.counts[row] = last == 0 ? 0 : greater_than(s.heads.heads + row * s.heads.keep, s.heads.keep, last - 1 + s.first);
  s.best[row] = from_ordered(static_cast<std::uint32_t>(best >> 32));
}

__global__ void __launch_bounds__(256) own_winners_kernel(OwnWinners const w) {
  std::int64_t const row = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (row >= w.rows) return;
  std::uint64_t const* const head = w.heads.heads + row * w.heads.keep;
  int const all = greater_than(head, w.heads.keep, 0);
  w.counts[row] = min(all, w.most);
  float const best = all == 0 ? -INFINITY : from_ordered(static_cast<std::uint32_t>(head[0] >> 32));
  w.best[row] = best;
  w.to[row * w.stride] = __float_as_int(best);
}

}  // namespace

void take_own_winners(Stream stream, OwnWinners const& winners) {
  own_winners_kernel<<<blocks(winners.rows, 256), 256, 0, stream>>>(winners);
  check_launch("winners of a rank");
}

void last_scores(Stream stream, HeadsOnDevice const& heads, int rows, float* scores) {
  last_scores_kernel<<<blocks(rows, 256), 256, 0, stream>>>(heads, rows, scores);
  check_launch("last scores of heads");
}

void head_edges(Stream stream, HeadsOnDevice const& heads, int rows, std::uint64_t* edges) {
  edges_kernel<<<blocks(rows, 256), 256, 0, stream>>>(heads, rows, edges);
  check_launch("edges of heads");
}

void find_winners(Stream stream, WinnersSearch const& search) {
  winners_of_heads<<<blocks(search.rows, 256), 256, 0, stream>>>(search);
  check_launch("winners");
}

void merge_heads(Stream stream, HeadsMerge const& m) {
  int longest = m.keep;
  longest = longest > m.earlier_keep ? longest : m.earlier_keep;
  longest = longest > m.later_keep ? longest : m.later_keep;
  merge_kernel<<<dim3(blocks(longest, 256), blocks(m.rows)), 256, 0, stream>>>(m);
  check_launch("heads of two steps");
}

}  // namespace asymptop::device
