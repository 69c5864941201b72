// Probes, weights of the tail and the head's keys one by one, and the tail's product with the values.
#include <algorithm>

#include "arithmetic.cuh"
#include "common.cuh"
#include "scores.hpp"
#include "second_pass.hpp"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

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
  int const row = block_y(), thread = thread_index();
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

constexpr int weigh_rows = 8, weigh_keys = 256, weigh_parts = weigh_keys / 32;

/// Block (strip, eight rows), a warp a row: weights of the tail's keys, 0 for others, by key; keys of the head join their segments.
__global__ void __launch_bounds__(32 * weigh_rows) weigh_kernel(ChunkScores const s, SegmentArguments const a) {
  __shared__ float turned[weigh_keys][weigh_rows + 1];
  int const thread = thread_index(), lane = thread % 32, first_row = block_y() * weigh_rows;
  int const row = first_row + thread / 32;
  bool const here = row < s.rows;
  auto const strip = strip_of(a, block_x(), s.count);
  auto const seen = here ? seen_of(s, row) : Seen{0, 0};
  std::int64_t const padded = (s.rows + score_tile - 1) / score_tile * score_tile;
  int const used = here ? a.used[row] : 1;
  std::int64_t const own_row = here ? row : 0;
  float const* const scores = s.scores + own_row * s.stride;
  float const* const references = a.reference + own_row * (a.boundaries + 1);
  float const last = a.boundary_score[own_row * a.boundaries + used - 1], reference = references[used];
  std::int64_t* const sums = a.sums + own_row * (a.boundaries + 1) * (a.d + 1);
  float const value_factor = static_cast<float>(a.value_factor);
  // Sums of 64 interleaved parts in fp32, added up in fp64 in their order.
  float lanes[2] = {};
  for (int j = strip.begin; j < strip.end; j += weigh_keys) {
    float part[weigh_parts];
#pragma unroll
    for (int h = 0; h < weigh_parts; ++h) {
      int const key = j + 32 * h + lane;
      part[h] = key < strip.end && key >= seen.begin && key < seen.end ? scores[key] : 0.0f;
    }
#pragma unroll
    for (int h = 0; h < weigh_parts; ++h) {
      int const key = j + 32 * h + lane;
      bool const visible = key < strip.end && key >= seen.begin && key < seen.end;
      float const score = part[h];
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
      turned[32 * h + lane][thread / 32] = weight;
      lanes[h % 2] = __fadd_rn(lanes[h % 2], weight);
    }
    __syncthreads();
    for (int i = thread; i < weigh_keys * weigh_rows; i += 32 * weigh_rows) {
      int const key = j + i / weigh_rows;
      if (key < strip.end) a.weights[key * padded + first_row + i % weigh_rows] = turned[i / weigh_rows][i % weigh_rows];
    }
    __syncthreads();
  }
  if (seen.begin >= strip.end || seen.end <= strip.begin) return;
  double total = 0.0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    for (int l = 0; l < 32; ++l) total = __dadd_rn(total, static_cast<double>(__shfl_sync(~0u, lanes[h], l)));
  }
  if (lane == 0) add_integer(sums + std::int64_t{used} * (a.d + 1) + a.d, fixed_of(total, a.weight_factor));
}

constexpr int tail_threads = 256, tail_columns = 64, tail_piece = 16, tail_stages = 3, chain_keys = 128, own_rows = 8, own_columns = 4;
constexpr std::size_t tail_shared =
    tail_stages * tail_piece * (score_tile + tail_columns) * sizeof(float) + std::size_t{score_tile} * tail_columns * sizeof(std::int64_t);

/// Block (strips, row tile, column tile): weights x values, each sum a chain over pieces of 128 keys that are chains of fused
/// multiply-adds, as weigh_panel() of attend/weigh_panel.hpp; a strip's sums become integers, which a thread keeps in shared memory.
template <int bytes>
__global__ void __launch_bounds__(tail_threads, 2) tail_kernel(ChunkScores const s, SegmentArguments const a, int const strips_of_block) {
  extern __shared__ __align__(16) unsigned char space[];
  auto* const totals = reinterpret_cast<std::int64_t*>(space);
  auto* const w = reinterpret_cast<float*>(totals + score_tile * tail_columns);
  float* const v = w + tail_stages * tail_piece * score_tile;
  int const thread = thread_index(), lane = thread % 32, warp = thread / 32;
  int const x = (warp / 4 * 8 + lane / 2 % 8) * 4, y = (warp % 4 * 4 + lane / 16 * 2 + lane % 2) * 4;
  int const first_row = block_y() * score_tile, first_column = block_z() * tail_columns;
  std::int64_t const padded = (s.rows + score_tile - 1) / score_tile * score_tile;
  for (int i = 0; i < own_rows * own_columns; ++i) totals[i * tail_threads + thread] = 0;
  int const first = block_x() * strips_of_block, strips = min(first + strips_of_block, strips_of(a, s.count));
  for (int number = first; number < strips; ++number) {
    auto const strip = strip_of(a, number, s.count);
    bool some = false;
    if (thread < score_tile && first_row + thread < s.rows) {
      auto const seen = seen_of(s, first_row + thread);
      some = seen.begin < strip.end && seen.end > strip.begin;
    }
    if (__syncthreads_or(some ? 1 : 0) == 0) continue;
    int next = strip.begin, next_stage = 0;
    auto const fetch = [&]() {
      if (next < strip.end) {
        for (int i = thread; i < tail_piece * (score_tile / 4); i += tail_threads) {
          int const j = i / (score_tile / 4), part = i % (score_tile / 4) * 4;
          bool const there = next + j < strip.end;
          copy_part<16>(w + (next_stage * tail_piece + j) * score_tile + part,
                        a.weights + (there ? next + j : 0) * padded + first_row + part, there);
        }
        constexpr int floats = bytes / 4;
        for (int i = thread; i < tail_piece * (tail_columns / floats); i += tail_threads) {
          int const j = i / (tail_columns / floats), part = i % (tail_columns / floats) * floats;
          bool const there = next + j < strip.end && first_column + part < a.d;
          copy_part<bytes>(v + (next_stage * tail_piece + j) * tail_columns + part,
                           a.values + (there ? std::int64_t{next + j} * a.d + first_column + part : 0), there);
        }
        next += tail_piece;
        next_stage = next_stage + 1 < tail_stages ? next_stage + 1 : 0;
      }
      asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int p = 0; p < tail_stages - 1; ++p) fetch();
    float out[own_rows][own_columns] = {}, sum[own_rows][own_columns] = {};
    int stage = 0;
    for (int done = strip.begin; done < strip.end; done += tail_piece) {
      asm volatile("cp.async.wait_group %0;" ::"n"(tail_stages - 2) : "memory");
      __syncthreads();
      fetch();
      float const *ws = w + stage * tail_piece * score_tile, *vs = v + stage * tail_piece * tail_columns;
      // Past the end of the strip there are zeros, which leave sums as they are.
#pragma unroll
      for (int j = 0; j < tail_piece; ++j) {
        float ps[own_rows], us[own_columns];
#pragma unroll
        for (int h = 0; h < 2; ++h)
          *reinterpret_cast<float4*>(ps + 4 * h) = *reinterpret_cast<float4 const*>(ws + j * score_tile + y + 64 * h);
        *reinterpret_cast<float4*>(us) = *reinterpret_cast<float4 const*>(vs + j * tail_columns + x);
#pragma unroll
        for (int r = 0; r < own_rows; ++r) {
#pragma unroll
          for (int c = 0; c < own_columns; ++c) sum[r][c] = __fmaf_rn(ps[r], us[c], sum[r][c]);
        }
      }
      stage = stage + 1 < tail_stages ? stage + 1 : 0;
      if ((done + tail_piece - strip.begin) % chain_keys != 0 && done + tail_piece < strip.end) continue;
#pragma unroll
      for (int r = 0; r < own_rows; ++r) {
#pragma unroll
        for (int c = 0; c < own_columns; ++c) {
          out[r][c] = __fadd_rn(out[r][c], sum[r][c]);
          sum[r][c] = 0.0f;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < own_rows; ++r) {
#pragma unroll
      for (int c = 0; c < own_columns; ++c) totals[(r * own_columns + c) * tail_threads + thread] += fixed_of(out[r][c], a.value_factor);
    }
  }
  for (int r = 0; r < own_rows; ++r) {
    int const row = first_row + y + r % 4 + r / 4 * 64;
    if (row >= s.rows) continue;
    std::int64_t* const sum = a.sums + (std::int64_t{row} * (a.boundaries + 1) + a.used[row]) * (a.d + 1) + first_column + x;
    for (int c = 0; c < own_columns; ++c) {
      std::int64_t const total = totals[(r * own_columns + c) * tail_threads + thread];
      if (first_column + x + c < a.d && total != 0) add_integer(sum + c, total);
    }
  }
}

}  // namespace

void add_probes(Stream stream, ChunkScores const& scores, ProbeArguments const& arguments) {
  if (scores.count == 0 || scores.rows == 0) return;
  dim3 const grid(blocks(scores.count, probe_keys), blocks(scores.rows));
  int const shared = arguments.bins <= most_shared_bins ? arguments.bins : 0;
  probe_kernel<<<grid, probe_threads, shared * sizeof(std::uint16_t), stream>>>(scores, arguments);
  check_launch("probes");
}

void add_attention(Stream stream, ChunkScores const& scores, SegmentArguments const& a) {
  if (scores.count == 0 || scores.rows == 0) return;
  auto const parts = [](int whole, int part) { return blocks(whole, part); };
  int const strips = strips_of(a, scores.count), padded = padded_to_tiles(scores.rows);
  weigh_kernel<<<dim3(blocks(strips), parts(padded, weigh_rows)), 32 * weigh_rows, 0, stream>>>(scores, a);
  check_launch("weights");
  // Two blocks for each of 132 multiprocessors.
  unsigned const row_tiles = parts(scores.rows, score_tile), column_tiles = parts(a.d, tail_columns);
  int const strips_of_block = std::max(1, static_cast<int>(static_cast<unsigned>(strips) * row_tiles * column_tiles / 264u));
  auto* const kernel = a.d % 4 == 0 ? tail_kernel<16> : tail_kernel<4>;
  allow_shared(kernel, tail_shared);
  kernel<<<dim3(parts(strips, strips_of_block), row_tiles, column_tiles), tail_threads, tail_shared, stream>>>(scores, a, strips_of_block);
  check_launch("attention of the tail");
}

}  // namespace asymptop::device
