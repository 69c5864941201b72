// Units of keys become nodes of the softmax tree over the sequence: attend/softmax_tree.hpp, operation by operation.
#include "arithmetic.cuh"
#include "attention.hpp"
#include "common.cuh"

namespace asymptop::device {
namespace {

constexpr int threads = 512, warps = threads / 32;

/// Node `i` of `left` becomes the parent of it and of node `j` of `right`, by one warp.
__device__ void combine(AttentionNodes const& left, std::int64_t i, AttentionNodes const& right, std::int64_t j) {
  float const a = left.max[i], b = right.max[j], top = a > b ? a : b, wa = left.weight[i], wb = right.weight[j];
  float const l = wa > 0.0f ? exp_as_host(a - top) : 0.0f, r = wb > 0.0f ? exp_as_host(b - top) : 0.0f;
  __syncwarp();
  // Where one has seen no keys, its values were never written.
  if (wb > 0.0f) {
    for (std::int64_t c = threadIdx.x % 32; c < left.d; c += 32) {
      float& x = left.values[i * left.d + c];
      x = __fmaf_rn(wa > 0.0f ? x : 0.0f, l, __fmul_rn(right.values[j * left.d + c], r));
    }
  }
  if (threadIdx.x % 32 == 0) {
    left.weight[i] = __fmaf_rn(wa, l, __fmul_rn(wb, r));
    left.max[i] = top;
  }
}

/// Block r: row r. Pairs of a level are independent of each other.
__global__ void __launch_bounds__(threads) join_kernel(AttentionNodes const nodes, std::int64_t first_unit, bool open_end) {
  std::int64_t const row = std::int64_t{blockIdx.x} * nodes.units;
  int const warp = thread_index() / 32;
  for (int half = 1; half < nodes.units; half *= 2) {
    int const twice = 2 * half;
    // The first unit of the call that begins a parent of this level.
    int const begin = (twice - first_unit % twice) % twice;
    for (std::int64_t left = begin + std::int64_t{warp} * twice; left + half < nodes.units; left += std::int64_t{warps} * twice) {
      if (left + twice <= nodes.units || open_end) combine(nodes, row + left, nodes, row + left + half);
    }
    __syncthreads();
  }
}

/// Block r: row r.
__global__ void __launch_bounds__(threads) take_kernel(AttentionNodes const from, int unit, int end, AttentionNodes const to) {
  std::int64_t const row = blockIdx.x, source = row * from.units + unit;
  float const weight = from.weight[source];
  for (std::int64_t c = threadIdx.x; c < from.d; c += threads)
    to.values[row * from.d + c] = weight > 0.0f ? from.values[source * from.d + c] : 0.0f;
  if (threadIdx.x != 0) return;
  to.max[row] = from.max[source];
  to.weight[row] = weight;
  int seen = 0;
  for (int u = unit; u < end; ++u) seen += from.seen[row * from.units + u];
  to.seen[row] = seen;
}

/// Warp w of the grid: row w.
__global__ void __launch_bounds__(threads) join_nodes_kernel(AttentionNodes const left, AttentionNodes const right) {
  std::int64_t const row = std::int64_t{blockIdx.x} * warps + threadIdx.x / 32;
  if (row >= left.rows) return;
  combine(left, row, right, row);
  if (threadIdx.x % 32 == 0) left.seen[row] += right.seen[row];
}

/// Warp w of the grid: row w.
__global__ void __launch_bounds__(threads) outputs_kernel(AttentionNodes const nodes, float* outputs) {
  std::int64_t const row = std::int64_t{blockIdx.x} * warps + threadIdx.x / 32;
  if (row >= nodes.rows) return;
  double const weight = nodes.weight[row];
  for (std::int64_t c = row * nodes.d + threadIdx.x % 32; c < (row + 1) * nodes.d; c += 32)
    outputs[c] = __double2float_rn(__ddiv_rn(nodes.values[c], weight));
}

unsigned warp_blocks(int rows) { return blocks(rows, warps); }

}  // namespace

void join_units(Stream stream, AttentionNodes const& nodes, std::int64_t first_unit, bool open_end) {
  join_kernel<<<blocks(nodes.rows), threads, 0, stream>>>(nodes, first_unit, open_end);
  check_launch("joining of units");
}

void take_node(Stream stream, AttentionNodes const& nodes, int unit, int end, AttentionNodes const& to) {
  take_kernel<<<blocks(nodes.rows), threads, 0, stream>>>(nodes, unit, end, to);
  check_launch("copying of nodes");
}

void join_nodes(Stream stream, AttentionNodes const& left, AttentionNodes const& right) {
  join_nodes_kernel<<<warp_blocks(left.rows), threads, 0, stream>>>(left, right);
  check_launch("joining of nodes");
}

void attention_outputs(Stream stream, AttentionNodes const& nodes, float* outputs) {
  outputs_kernel<<<warp_blocks(nodes.rows), threads, 0, stream>>>(nodes, outputs);
  check_launch("outputs of attention");
}

}  // namespace asymptop::device
