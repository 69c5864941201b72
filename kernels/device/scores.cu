// A product of fp32 matrices on the fp32 units whose sums are chains in the order of columns.
#include "arithmetic.cuh"
#include "common.cuh"
#include "scores.hpp"

namespace asymptop::device {
namespace {

constexpr int threads = 256, piece = 16, stages = 3;
constexpr int key_group = 32;

/// Copies 16 bytes to shared memory without waiting; zeros where they are not `there`.
__device__ void copy_part(float* to, float const* from, bool there) {
  auto const at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
}

/// Block (key tile, row tile): 16 x `own` rows, `own` of them a thread's, against 128 keys, eight of them a thread's.
template <int own>
__global__ void __launch_bounds__(threads, 2) score_chunk_kernel(ScoreArguments const a) {
  constexpr int rows = 16 * own, run = own < 4 ? own : 4;
  __shared__ __align__(16) float q[stages][piece * rows];
  __shared__ __align__(16) float k[stages][piece * score_tile];
  int const thread = static_cast<int>(threadIdx.x), first_row = static_cast<int>(blockIdx.y) * rows;
  int const first_key = static_cast<int>(blockIdx.x) * score_tile;
  {
    int const row = first_row + thread;
    std::int64_t const begin = a.first + first_key;
    bool const seen = thread < rows && row < a.rows && a.limits[row] > begin && (a.from == nullptr || a.from[row] < begin + score_tile);
    if (__syncthreads_or(seen ? 1 : 0) == 0) return;
  }
  int const padded = (a.rows + score_tile - 1) / score_tile * score_tile, groups = (a.count + key_group - 1) / key_group;
  auto const fetch = [&](int done, int stage) {
    for (int i = thread; i < piece * (rows / 4); i += threads) {
      int const c = i / (rows / 4), part = i % (rows / 4) * 4;
      bool const there = done + c < a.d;
      copy_part(&q[stage][c * rows + part], a.columns + (there ? std::int64_t{done + c} * padded + first_row + part : 0), there);
    }
    for (int i = thread; i < piece * (score_tile / 4); i += threads) {
      int const c = i / (score_tile / 4), part = i % (score_tile / 4) * 4, group = (first_key + part) / key_group;
      bool const there = done + c < a.d && group < groups;
      copy_part(&k[stage][c * score_tile + part],
                a.packed + (there ? (std::int64_t{group} * a.d + done + c) * key_group + part % key_group : 0), there);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  int const x = thread % 16 * 4, y = thread / 16 * run;
  float sum[own][8] = {};
  int const pieces = (a.d + piece - 1) / piece;
  for (int p = 0; p < stages - 1; ++p) fetch(p * piece, p);
  for (int p = 0; p < pieces; ++p) {
    asm volatile("cp.async.wait_group %0;" ::"n"(stages - 2) : "memory");
    __syncthreads();
    fetch((p + stages - 1) * piece, (p + stages - 1) % stages);
    float const *qs = q[p % stages], *ks = k[p % stages];
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
    int const here = min(piece, a.d - p * piece);
    if (here == piece) {
#pragma unroll
      for (int c = 0; c < piece; ++c) add(c);
    } else {
#pragma unroll 1
      for (int c = 0; c < here; ++c) add(c);
    }
  }
  if (a.softcap > 0.0) {
#pragma unroll
    for (int r = 0; r < own; ++r) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[r][j] = softcapped(sum[r][j], a.softcap);
    }
  }
#pragma unroll
  for (int r = 0; r < own; ++r) {
    int const row = first_row + y + r % run + r / run * 64;
    if (row >= a.rows) continue;
#pragma unroll
    for (int h = 0; h < 2; ++h)
      *reinterpret_cast<float4*>(a.scores + row * a.stride + first_key + x + 64 * h) =
          make_float4(sum[r][4 * h], sum[r][4 * h + 1], sum[r][4 * h + 2], sum[r][4 * h + 3]);
  }
}

/// Block g: a group of keys, turned over in shared memory.
__global__ void unpack_kernel(float const* packed, std::int64_t count, int d, float* rows) {
  __shared__ float tile[key_group][key_group + 1];
  std::int64_t const group = blockIdx.x;
  int const lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
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

}  // namespace

void score_chunk(Stream stream, ScoreArguments const& a) {
  if (a.count == 0 || a.rows == 0) return;
  auto const grid = [&](int rows) {
    return dim3(static_cast<unsigned>((a.count + score_tile - 1) / score_tile), static_cast<unsigned>((a.rows + rows - 1) / rows));
  };
  if (a.rows > 64) {
    score_chunk_kernel<8><<<grid(128), threads, 0, stream>>>(a);
  } else if (a.rows > 32) {
    score_chunk_kernel<4><<<grid(64), threads, 0, stream>>>(a);
  } else {
    score_chunk_kernel<2><<<grid(32), threads, 0, stream>>>(a);
  }
  check_launch("scores of a chunk");
}

void unpack_keys(Stream stream, float const* packed, std::int64_t count, int d, float* rows) {
  if (count == 0) return;
  unpack_kernel<<<static_cast<unsigned>((count + key_group - 1) / key_group), dim3(key_group, 8), 0, stream>>>(packed, count, d, rows);
  check_launch("keys as rows");
}

}  // namespace asymptop::device
