// fp32 scores of a block of rows and keys: each one chain of fused multiply-adds over ascending columns, as the fused host path has them.
#pragma once

#include "common.cuh"

namespace asymptop::device {

/// 16 rows x 256 keys, two keys a thread, 32 columns at a time.
constexpr int score_threads = 128, score_rows = 16, score_keys = 256, score_piece = 32, score_stride = score_piece + 4;

inline int score_columns(int d) { return (d + score_piece - 1) / score_piece * score_piece; }
inline std::size_t score_block_bytes(int d) {
  return static_cast<std::size_t>(score_rows * score_columns(d) + score_keys * score_stride) * sizeof(float);
}
/// Blocks (key tile, row tile).
inline dim3 score_grid(std::int64_t keys, int rows) { return {blocks(keys, score_keys), blocks(rows, score_rows)}; }

/// Calls take(r, key, score) for the block's rows r, whose queries are those of list[r] (r itself where list is null), and its keys.
template <class Take>
__device__ void score_block(float const* queries, int const* list, int rows, float const* keys, std::int64_t n, int d, Take const& take) {
  extern __shared__ float4 shared4[];
  int const columns = (d + score_piece - 1) / score_piece * score_piece, thread = thread_index();
  auto* const q = reinterpret_cast<float*>(shared4);
  float* const k = q + score_rows * columns;
  int const first_row = block_y() * score_rows;
  std::int64_t const first_key = std::int64_t{blockIdx.x} * score_keys;
  for (int i = thread; i < score_rows * columns; i += score_threads) {
    int const r = first_row + i / columns, c = i % columns;
    q[i] = r < rows && c < d ? queries[std::int64_t{list == nullptr ? r : list[r]} * d + c] : 0.0f;
  }
  float sum[2][score_rows] = {};
  for (int done = 0; done < d; done += score_piece) {
    __syncthreads();
    for (int i = thread; i < score_keys * score_piece; i += score_threads) {
      std::int64_t const key = first_key + i / score_piece;
      int const c = i % score_piece;
      k[i / score_piece * score_stride + c] = key < n && done + c < d ? keys[key * d + done + c] : 0.0f;
    }
    __syncthreads();
    // Zeros past the last column leave a sum as it is, but for the sign of a zero, which no order of scores sees.
    int const here = min(score_piece, d - done);
#pragma unroll 1
    for (int c = 0; c < here; c += 4) {
      float4 const x = *reinterpret_cast<float4 const*>(k + thread * score_stride + c);
      float4 const y = *reinterpret_cast<float4 const*>(k + (thread + score_threads) * score_stride + c);
#pragma unroll
      for (int r = 0; r < score_rows; ++r) {
        float4 const w = *reinterpret_cast<float4 const*>(q + r * columns + done + c);
        sum[0][r] = fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, fmaf(w.x, x.x, sum[0][r]))));
        sum[1][r] = fmaf(w.w, y.w, fmaf(w.z, y.z, fmaf(w.y, y.y, fmaf(w.x, y.x, sum[1][r]))));
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    std::int64_t const key = first_key + thread + h * score_threads;
#pragma unroll
    for (int r = 0; r < score_rows; ++r) {
      if (key < n && first_row + r < rows) take(first_row + r, key, sum[h][r]);
    }
  }
}

}  // namespace asymptop::device
