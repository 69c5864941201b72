// Units of keys become nodes of the softmax tree over the sequence: attend/softmax_tree.hpp, operation by operation.
#include "arithmetic.cuh"
#include "attention.hpp"
#include "common.cuh"

namespace asymptop::device {
namespace {

constexpr int threads = 512, warps = threads / 32;

/// Node `left` of a row becomes its parent, by one warp.
__device__ void combine(AttentionNodes const& nodes, std::int64_t left, std::int64_t right) {
  float const a = nodes.max[left], b = nodes.max[right], top = a > b ? a : b, wa = nodes.weight[left], wb = nodes.weight[right];
  float const l = wa > 0.0f ? exp_as_host(a - top) : 0.0f, r = wb > 0.0f ? exp_as_host(b - top) : 0.0f;
  __syncwarp();
  // Where one has seen no keys, its values were never written.
  if (wb > 0.0f) {
    for (std::int64_t c = threadIdx.x % 32; c < nodes.d; c += 32) {
      float& x = nodes.values[left * nodes.d + c];
      float const y = nodes.values[right * nodes.d + c];
      x = __fmaf_rn(wa > 0.0f ? x : 0.0f, l, __fmul_rn(y, r));
    }
  }
  if (threadIdx.x % 32 == 0) {
    nodes.weight[left] = __fmaf_rn(wa, l, __fmul_rn(wb, r));
    nodes.max[left] = top;
  }
}

/// Block r: row r. Pairs of a level are independent of each other.
__global__ void __launch_bounds__(threads) join_kernel(AttentionNodes const nodes, std::int64_t first_unit, bool open_end) {
  std::int64_t const row = std::int64_t{blockIdx.x} * nodes.units;
  int const warp = static_cast<int>(threadIdx.x) / 32;
  for (int half = 1; half < nodes.units; half *= 2) {
    int const twice = 2 * half;
    // The first unit of the call that begins a parent of this level.
    int const begin = static_cast<int>((twice - first_unit % twice) % twice);
    for (std::int64_t left = begin + std::int64_t{warp} * twice; left + half < nodes.units; left += std::int64_t{warps} * twice) {
      if (left + twice <= nodes.units || open_end) combine(nodes, row + left, row + left + half);
    }
    __syncthreads();
  }
}

/// Places of the nodes that are left: at most two for each level.
struct NodePlaces {
  int unit[64];
};

__global__ void __launch_bounds__(threads) gather_kernel(AttentionNodes const from, NodePlaces const places, AttentionNodes const to) {
  std::int64_t const row = blockIdx.x;
  for (int node = 0; node < to.units; ++node) {
    std::int64_t const source = row * from.units + places.unit[node], target = row * to.units + node;
    float const weight = from.weight[source];
    for (std::int64_t c = threadIdx.x; c < from.d; c += threads)
      to.values[target * from.d + c] = weight > 0.0f ? from.values[source * from.d + c] : 0.0f;
    if (threadIdx.x != 0) continue;
    to.max[target] = from.max[source];
    to.weight[target] = weight;
    int const end = node + 1 < to.units ? places.unit[node + 1] : from.units;
    int seen = 0;
    for (int u = places.unit[node]; u < end; ++u) seen += from.seen[row * from.units + u];
    to.seen[target] = seen;
  }
}

}  // namespace

void join_units(Stream stream, AttentionNodes const& nodes, std::int64_t first_unit, bool open_end) {
  join_kernel<<<static_cast<unsigned>(nodes.rows), threads, 0, stream>>>(nodes, first_unit, open_end);
  check_launch("joining of units");
}

void gather_nodes(Stream stream, AttentionNodes const& nodes, std::int64_t first_unit, bool open_end, AttentionNodes const& to) {
  NodePlaces places{};
  int count = 0;
  visit_nodes(first_unit, nodes.units, open_end, [&](std::int64_t unit, int) { places.unit[count++] = static_cast<int>(unit); });
  gather_kernel<<<static_cast<unsigned>(nodes.rows), threads, 0, stream>>>(nodes, places, to);
  check_launch("gathering of nodes");
}

}  // namespace asymptop::device
