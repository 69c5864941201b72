// A product of fp32 matrices on the fp32 units whose sums are chains in the order of columns.
#include "arithmetic.cuh"
#include "common.cuh"
#include "scores.hpp"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

constexpr int threads = 256, piece = 16, stages = 3;
constexpr int key_group = 32;

/// Block (run of key tiles, row tile): 16 x `own` rows, `own` of them a thread's, against one tile of 128 keys after another, eight of them
/// a thread's. Pieces of the next tile are on their way while a tile's scores go out.
template <int own, bool capped>
__global__ void __launch_bounds__(threads, 2) score_chunk_kernel(ScoreArguments const a, int const tiles_of_block) {
  constexpr int rows = 16 * own, run = own < 4 ? own : 4;
  __shared__ __align__(16) float q[stages][piece * rows];
  __shared__ __align__(16) float k[stages][piece * score_tile];
  int const thread = thread_index(), first_row = block_y() * rows;
  // Keys of the chunk that some row sees: begin, end.
  int* const seen = reinterpret_cast<int*>(q[0]);
  if (thread < 2) seen[thread] = thread == 0 ? a.count : 0;
  __syncthreads();
  if (thread < rows && first_row + thread < a.rows) {
    int const row = first_row + thread;
    std::int64_t const begin = (a.from == nullptr ? 0 : a.from[row]) - a.first, end = a.limits[row] - a.first;
    if (begin < end) {
      atomicMin(&seen[0], static_cast<int>(max(begin, std::int64_t{0})));
      atomicMax(&seen[1], static_cast<int>(min(end, std::int64_t{a.count})));
    }
  }
  __syncthreads();
  int const first_tile = max(block_x() * tiles_of_block, seen[0] / score_tile);
  int const end_tile = min((block_x() + 1) * tiles_of_block, (seen[1] + score_tile - 1) / score_tile);
  __syncthreads();
  int const padded = (a.rows + score_tile - 1) / score_tile * score_tile, groups = (a.count + key_group - 1) / key_group;
  int const pieces = (a.d + piece - 1) / piece, all = max(end_tile - first_tile, 0) * pieces;
  int next_tile = first_tile, next_done = 0, next_stage = 0;
  auto const fetch = [&]() {
    if (next_tile < end_tile) {
      // A thread copies the same four rows and four keys of several columns.
      constexpr int q_columns = threads / (rows / 4), k_columns = threads / (score_tile / 4);
      int const q_part = thread % (rows / 4) * 4, q_column = thread / (rows / 4);
      int const k_part = thread % (score_tile / 4) * 4, k_column = thread / (score_tile / 4), group = next_tile * 4 + k_part / key_group;
      auto const q_from = static_cast<std::uint32_t>((next_done + q_column) * padded + first_row + q_part);
      auto const k_from = static_cast<std::uint32_t>(group * a.d + next_done + k_column) * key_group + k_part % key_group;
      float *q_to = &q[next_stage][q_column * rows + q_part], *k_to = &k[next_stage][k_column * score_tile + k_part];
      int const left = a.d - next_done;
#pragma unroll
      for (int c = 0; c < piece; c += q_columns) {
        bool const there = q_column + c < left;
        if (q_column + c < piece) copy_part<16>(q_to + c * rows, a.columns + (there ? q_from + c * padded : 0u), there);
      }
#pragma unroll
      for (int c = 0; c < piece; c += k_columns) {
        bool const there = k_column + c < left && group < groups;
        copy_part<16>(k_to + c * score_tile, a.packed + (there ? k_from + c * key_group : 0u), there);
      }
      next_done += piece;
      if (next_done >= a.d) {
        next_done = 0;
        ++next_tile;
      }
      next_stage = next_stage + 1 < stages ? next_stage + 1 : 0;
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  // A warp's 32 places are 4 x 8, in an order in which 16-byte reads of shared memory do not meet.
  int const lane = thread % 32, warp = thread / 32;
  int const x = (warp / 4 * 8 + lane / 2 % 8) * 4, y = (warp % 4 * 4 + lane / 16 * 2 + lane % 2) * run;
  float sum[own][8] = {};
  for (int p = 0; p < stages - 1; ++p) fetch();
  int stage = 0, done = 0, tile = first_tile;
  for (int p = 0; p < all; ++p) {
    asm volatile("cp.async.wait_group %0;" ::"n"(stages - 2) : "memory");
    __syncthreads();
    fetch();
    float const *qs = q[stage], *ks = k[stage];
    auto const add = [&](int c) {
      float qv[own], kv[8];
      if constexpr (own == 2) {
        *reinterpret_cast<float2*>(qv) = *reinterpret_cast<float2 const*>(qs + c * rows + y);
      } else {
#pragma unroll
        for (int h = 0; h < own / 4; ++h)
          *reinterpret_cast<float4*>(qv + 4 * h) = *reinterpret_cast<float4 const*>(qs + c * rows + y + 64 * h);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *reinterpret_cast<float4*>(kv + 4 * h) = *reinterpret_cast<float4 const*>(ks + c * score_tile + x + 64 * h);
#pragma unroll
      for (int r = 0; r < own; ++r) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[r][j] = __fmaf_rn(qv[r], kv[j], sum[r][j]);
      }
    };
    int const here = min(piece, a.d - done);
    if (here == piece) {
#pragma unroll
      for (int c = 0; c < piece; ++c) add(c);
    } else {
#pragma unroll 1
      for (int c = 0; c < here; ++c) add(c);
    }
    stage = stage + 1 < stages ? stage + 1 : 0;
    done += piece;
    if (done < a.d) continue;
    done = 0;
    if constexpr (capped) {
#pragma unroll
      for (int r = 0; r < own; ++r) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[r][j] = softcapped(sum[r][j], a.softcap);
      }
    }
#pragma unroll
    for (int r = 0; r < own; ++r) {
      int const row = first_row + y + r % run + r / run * 64;
      if (row < a.rows) {
#pragma unroll
        for (int h = 0; h < 2; ++h)
          *reinterpret_cast<float4*>(a.scores + row * a.stride + std::int64_t{tile} * score_tile + x + 64 * h) =
              make_float4(sum[r][4 * h], sum[r][4 * h + 1], sum[r][4 * h + 2], sum[r][4 * h + 3]);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[r][j] = 0.0f;
    }
    ++tile;
  }
}

/// Block g: a group of keys, turned over in shared memory.
__global__ void unpack_kernel(float const* packed, std::int64_t count, int d, float* rows) {
  __shared__ float tile[key_group][key_group + 1];
  std::int64_t const group = blockIdx.x;
  int const lane = thread_index(), warp = static_cast<int>(threadIdx.y);
  for (int done = 0; done < d; done += key_group) {
    for (int c = warp; c < key_group; c += static_cast<int>(blockDim.y)) {
      if (done + c < d) tile[c][lane] = packed[(group * d + done + c) * key_group + lane];
    }
    __syncthreads();
    for (int l = warp; l < key_group; l += static_cast<int>(blockDim.y)) {
      std::int64_t const key = group * key_group + l;
      if (key < count && done + lane < d) rows[key * d + done + lane] = tile[lane][l];
    }
    __syncthreads();
  }
}

/// Block (rows, column).
__global__ void by_column_kernel(float const* queries, int rows, int padded, int d, float* columns) {
  int const row = blockIdx.x * blockDim.x + threadIdx.x, c = block_y();
  if (row < padded) columns[std::int64_t{c} * padded + row] = row < rows ? queries[std::int64_t{row} * d + c] : 0.0f;
}

}  // namespace

void score_chunk(Stream stream, ScoreArguments const& a) {
  if (a.count == 0 || a.rows == 0) return;
  // Some four blocks after one another in each place that there is for them.
  constexpr int places = 2 * 132 * 2;
  int const tiles = (a.count + score_tile - 1) / score_tile, rows = a.rows > 64 ? 128 : a.rows > 32 ? 64 : 32;
  int const row_tiles = (a.rows + rows - 1) / rows, tiles_of_block = max(1, (tiles * row_tiles + places - 1) / places);
  dim3 const grid(blocks(tiles, tiles_of_block), blocks(row_tiles));
  auto const launch = [&](auto* const capped, auto* const plain) {
    (a.softcap > 0.0 ? capped : plain)<<<grid, threads, 0, stream>>>(a, tiles_of_block);
  };
  if (rows == 128) {
    launch(score_chunk_kernel<8, true>, score_chunk_kernel<8, false>);
  } else if (rows == 64) {
    launch(score_chunk_kernel<4, true>, score_chunk_kernel<4, false>);
  } else {
    launch(score_chunk_kernel<2, true>, score_chunk_kernel<2, false>);
  }
  check_launch("scores of a chunk");
}

void queries_by_column(Stream stream, float const* queries, int rows, int d, float* columns) {
  dim3 const grid(blocks(padded_to_tiles(rows), 256), blocks(d));
  by_column_kernel<<<grid, 256, 0, stream>>>(queries, rows, padded_to_tiles(rows), d, columns);
  check_launch("queries by column");
}

void unpack_keys(Stream stream, float const* packed, std::int64_t count, int d, float* rows) {
  if (count == 0) return;
  unpack_kernel<<<blocks(count, key_group), dim3(key_group, 8), 0, stream>>>(packed, count, d, rows);
  check_launch("keys as rows");
}

}  // namespace asymptop::device
