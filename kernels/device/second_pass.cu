// Probes, weights of the tail and the head's keys one by one, and the tail's product with the values.
#include "arithmetic.cuh"
#include "common.cuh"
#include "second_pass.hpp"

namespace asymptop::device {
namespace {

__device__ void add_integer(std::int64_t* to, std::int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

/// Keys of the chunk that a row sees.
struct Seen {
  std::int64_t begin, end;
};
__device__ Seen seen_of(ChunkScores const& s, int row) {
  std::int64_t const begin = (s.from == nullptr ? 0 : s.from[row]) - s.first, end = s.limits[row] - s.first;
  return {begin < 0 ? 0 : begin, end < s.count ? end : s.count};
}

constexpr int probe_threads = 256, probe_keys = 1 << 14, most_shared_bins = 1 << 14;

/// Block (part of the chunk, row).
__global__ void __launch_bounds__(probe_threads) probe_kernel(ChunkScores const s, ProbeArguments const p) {
  int const row = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x);
  auto const seen = seen_of(s, row);
  std::int64_t const part = std::int64_t{blockIdx.x} * probe_keys;
  std::int64_t const begin = max(part, seen.begin), end = min(part + probe_keys, seen.end);
  if (begin >= end) return;
  float const* const scores = s.scores + row * s.stride;
  float const edge = p.edge_score[row];
  std::uint16_t const* of_bin = p.of_bin + std::int64_t{row} * p.bins;
  extern __shared__ std::uint16_t shared_bins[];
  if (p.bins <= most_shared_bins) {
    for (int b = thread; b < p.bins; b += probe_threads) shared_bins[b] = of_bin[b];
    of_bin = shared_bins;
    __syncthreads();
  }
  int const first_bin = p.first_bin[row];
  std::int64_t const probes = std::int64_t{row} * p.probes;
  int above = 0, equal = 0;
  auto const take = [&](float score) {
    above += score > edge ? 1 : 0;
    equal += score == edge ? 1 : 0;
    auto const at = bin_of(score, p.bins_per_unit, first_bin, p.bins);
    int const slot = of_bin[at.bin];
    if (slot == 0) return;
    for (int q = slot - 1; q < p.probes && p.bin[probes + q] == at.bin; ++q) {
      if (score > p.high[probes + q]) {
        std::int64_t* const to = p.above + (probes + q) * 3;
        add_integer(to, 1);
        add_integer(to + 1, at.r);
        add_integer(to + 2, at.r2);
      } else if (score > p.low[probes + q]) {
        int const place = atomicAdd(&p.fill[probes + q], 1);
        if (place < p.capacity[probes + q]) p.collected[p.begin[probes + q] + place] = score;
      }
    }
  };
  for (std::int64_t i = begin / 4 * 4 + thread * 4; i < end; i += probe_threads * 4) {
    float4 const four = *reinterpret_cast<float4 const*>(scores + i);
    if (i >= begin) take(four.x);
    if (i + 1 >= begin && i + 1 < end) take(four.y);
    if (i + 2 >= begin && i + 2 < end) take(four.z);
    if (i + 3 >= begin && i + 3 < end) take(four.w);
  }
  above = __reduce_add_sync(~0u, above);
  equal = __reduce_add_sync(~0u, equal);
  if (thread % 32 != 0) return;
  if (above > 0) add_integer(p.edge + 2 * row, above);
  if (equal > 0) add_integer(p.edge + 2 * row + 1, equal);
}

/// A strip of the chunk: keys [begin, end).
struct Strip {
  int begin, end;
};
__host__ __device__ int strips_of_unit(SegmentArguments const& a) { return (a.unit + a.strip - 1) / a.strip; }
__host__ __device__ int strips_of(SegmentArguments const& a, int count) {
  int const units = count / a.unit, left = count % a.unit;
  return units * strips_of_unit(a) + (left + a.strip - 1) / a.strip;
}
__device__ Strip strip_of(SegmentArguments const& a, int number, int count) {
  int const unit = number / strips_of_unit(a) * a.unit, begin = unit + number % strips_of_unit(a) * a.strip;
  return {begin, min(min(begin + a.strip, unit + a.unit), count)};
}

/// How many boundaries of a row come before a key: segment_of().
__device__ int segment_of_key(SegmentArguments const& a, std::int64_t row, int used, float score, std::int64_t index) {
  float const* const scores = a.boundary_score + row * a.boundaries;
  std::int64_t const* const indices = a.boundary_index + row * a.boundaries;
  int low = 0, high = used;
  while (low < high) {
    int const middle = (low + high) / 2;
    bool const before = scores[middle] > score || (scores[middle] == score && indices[middle] < index);
    low = before ? middle + 1 : low;
    high = before ? high : middle;
  }
  return low;
}

constexpr int weigh_warps = 8;

/// A warp a strip and row: weights of the tail's keys, 0 for others; keys of the head join their segments.
__global__ void __launch_bounds__(32 * weigh_warps) weigh_kernel(ChunkScores const s, SegmentArguments const a) {
  int const row = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % 32;
  int const number = static_cast<int>(blockIdx.x) * weigh_warps + static_cast<int>(threadIdx.x) / 32;
  if (number >= strips_of(a, s.count)) return;
  auto const strip = strip_of(a, number, s.count);
  auto const seen = seen_of(s, row);
  if (seen.begin >= strip.end || seen.end <= strip.begin) return;  // tail_kernel passes it by
  int const used = a.used[row];
  float const* const scores = s.scores + row * s.stride;
  float* const weights = a.weights + row * s.stride;
  float const* const references = a.reference + std::int64_t{row} * (a.boundaries + 1);
  float const last = a.boundary_score[std::int64_t{row} * a.boundaries + used - 1], reference = references[used];
  std::int64_t* const sums = a.sums + std::int64_t{row} * (a.boundaries + 1) * (a.d + 1);
  float const value_factor = static_cast<float>(a.value_factor);
  // Sums of 64 interleaved parts in fp32, added up in fp64 in their order.
  float lanes[2] = {};
  for (int j = strip.begin; j < strip.end; j += 64) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      int const key = j + 32 * h + lane;
      bool const here = key < strip.end, visible = here && key >= seen.begin && key < seen.end;
      float const score = here ? scores[key] : 0.0f;
      float weight = visible && score < last ? exp_as_host(__fmul_rn(a.sigma, __fsub_rn(score, reference))) : 0.0f;
      int g = used;
      float own = 0.0f;
      if (visible && score >= last) {
        g = segment_of_key(a, row, used, score, a.index_of_first + key);
        own = exp_as_host(__fmul_rn(a.sigma, __fsub_rn(score, references[g])));
        if (g == used) {
          weight = own;  // equal to the last boundary's score, but a later key
        } else {
          add_integer(sums + std::int64_t{g} * (a.d + 1) + a.d, fixed_of(own, a.weight_factor));
        }
      }
      unsigned head = __ballot_sync(~0u, g != used);
      while (head != 0u) {
        int const from = __ffs(static_cast<int>(head)) - 1;
        head &= head - 1u;
        float const scaled = __fmul_rn(__shfl_sync(~0u, own, from), value_factor);
        std::int64_t* const sum = sums + std::int64_t{__shfl_sync(~0u, g, from)} * (a.d + 1);
        float const* const v = a.values + std::int64_t{j + 32 * h + from} * a.d;
        for (int c = lane; c < a.d; c += 32) add_integer(sum + c, __float2ll_rz(__fmul_rn(scaled, v[c])));
      }
      if (here) weights[key] = weight;
      lanes[h] = __fadd_rn(lanes[h], weight);
    }
  }
  double total = 0.0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    for (int l = 0; l < 32; ++l) total = __dadd_rn(total, static_cast<double>(__shfl_sync(~0u, lanes[h], l)));
  }
  if (lane == 0) add_integer(sums + std::int64_t{used} * (a.d + 1) + a.d, fixed_of(total, a.weight_factor));
}

constexpr int tail_threads = 256, tail_rows = 64, tail_columns = 64, tail_piece = 64, chain_keys = 128;

/// Block (strips, row tile, column tile): weights x values, each sum a chain over pieces of 128 keys that are chains of fused
/// multiply-adds, as weigh_panel() of attend/weigh_panel.hpp; a strip's sums become integers.
__global__ void __launch_bounds__(tail_threads, 2) tail_kernel(ChunkScores const s, SegmentArguments const a, int const strips_of_block) {
  // Rows of weights lie in fours that change places with the key, so that neither side meets a bank twice.
  __shared__ __align__(16) float w[tail_piece][tail_rows];
  __shared__ __align__(16) float v[tail_piece][tail_columns];
  __shared__ std::int64_t seen_begin[tail_rows], seen_end[tail_rows];
  int const thread = static_cast<int>(threadIdx.x), x = thread % 16 * 4, y = thread / 16 * 4;
  int const first_row = static_cast<int>(blockIdx.y) * tail_rows, first_column = static_cast<int>(blockIdx.z) * tail_columns;
  if (thread < tail_rows) {
    auto const seen = first_row + thread < s.rows ? seen_of(s, first_row + thread) : Seen{0, 0};
    seen_begin[thread] = seen.begin;
    seen_end[thread] = seen.end;
  }
  __syncthreads();
  std::int64_t total[4][4] = {};
  int const first = static_cast<int>(blockIdx.x) * strips_of_block, strips = min(first + strips_of_block, strips_of(a, s.count));
  for (int number = first; number < strips; ++number) {
    auto const strip = strip_of(a, number, s.count);
    bool const some = thread < tail_rows && seen_begin[thread] < strip.end && seen_end[thread] > strip.begin;
    if (__syncthreads_or(some ? 1 : 0) == 0) continue;
    float out[4][4] = {};
    for (int chain = strip.begin; chain < strip.end; chain += chain_keys) {
      int const chain_end = min(chain + chain_keys, strip.end);
      float sum[4][4] = {};
      for (int done = chain; done < chain_end; done += tail_piece) {
        int const here = min(tail_piece, chain_end - done);
        __syncthreads();
        for (int i = thread; i < tail_rows * tail_piece; i += tail_threads) {
          int const j = i % 8 + i / 32 % (tail_piece / 8) * 8, r = i / 8 % 4 + i / (4 * tail_piece) * 4;
          // Rows that see nothing of the strip have no weights there.
          bool const there = j < here && first_row + r < s.rows && seen_begin[r] < strip.end && seen_end[r] > strip.begin;
          w[j][(r / 4 ^ j % 8) * 4 + r % 4] = there ? a.weights[(first_row + r) * s.stride + done + j] : 0.0f;
        }
        for (int i = thread; i < tail_piece * tail_columns; i += tail_threads) {
          int const j = i / tail_columns, c = i % tail_columns;
          v[j][c] = j < here && first_column + c < a.d ? a.values[std::int64_t{done + j} * a.d + first_column + c] : 0.0f;
        }
        __syncthreads();
#pragma unroll 8
        for (int j = 0; j < here; ++j) {
          float4 const p = *reinterpret_cast<float4 const*>(&w[j][y ^ j % 8 * 4]), u = *reinterpret_cast<float4 const*>(&v[j][x]);
          float const ps[4] = {p.x, p.y, p.z, p.w}, us[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
          for (int r = 0; r < 4; ++r) {
#pragma unroll
            for (int c = 0; c < 4; ++c) sum[r][c] = __fmaf_rn(ps[r], us[c], sum[r][c]);
          }
        }
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out[r][c] = __fadd_rn(out[r][c], sum[r][c]);
      }
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int c = 0; c < 4; ++c) total[r][c] += fixed_of(out[r][c], a.value_factor);
    }
  }
  for (int r = 0; r < 4; ++r) {
    int const row = first_row + y + r;
    if (row >= s.rows) return;
    std::int64_t* const sum = a.sums + (std::int64_t{row} * (a.boundaries + 1) + a.used[row]) * (a.d + 1) + first_column + x;
    for (int c = 0; c < 4; ++c) {
      if (first_column + x + c < a.d && total[r][c] != 0) add_integer(sum + c, total[r][c]);
    }
  }
}

}  // namespace

void add_probes(Stream stream, ChunkScores const& scores, ProbeArguments const& arguments) {
  if (scores.count == 0 || scores.rows == 0) return;
  dim3 const grid(static_cast<unsigned>((scores.count + probe_keys - 1) / probe_keys), static_cast<unsigned>(scores.rows));
  int const shared = arguments.bins <= most_shared_bins ? arguments.bins : 0;
  probe_kernel<<<grid, probe_threads, static_cast<std::size_t>(shared) * sizeof(std::uint16_t), stream>>>(scores, arguments);
  check_launch("probes");
}

void add_attention(Stream stream, ChunkScores const& scores, SegmentArguments const& a) {
  if (scores.count == 0 || scores.rows == 0) return;
  auto const parts = [](int whole, int part) { return static_cast<unsigned>((whole + part - 1) / part); };
  int const strips = strips_of(a, scores.count);
  weigh_kernel<<<dim3(parts(strips, weigh_warps), static_cast<unsigned>(scores.rows)), 32 * weigh_warps, 0, stream>>>(scores, a);
  check_launch("weights");
  constexpr int strips_of_block = 8;
  tail_kernel<<<dim3(parts(strips, strips_of_block), parts(scores.rows, tail_rows), parts(a.d, tail_columns)), tail_threads, 0, stream>>>(
      scores, a, strips_of_block);
  check_launch("attention of the tail");
}

}  // namespace asymptop::device
