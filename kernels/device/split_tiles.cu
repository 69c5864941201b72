// Keys, values and queries to pairs of fp16 numbers, or to bf16 numbers, in the layout that wgmma reads from shared memory (attention.hpp).
//
// A piece has rows of 128 bytes, 64 numbers along the sum of a product: row r at r * 128 bytes, its 16-byte parts exchanged by
// part ^ (r % 8), which is the 128-byte swizzle. Keys and queries have a row for each key or query; values, whose products are summed over
// keys, a row for each column.
#include "common.cuh"
#include "split_tiles.cuh"

namespace asymptop::device {
namespace {

constexpr int threads = 256, warps = threads / 32;

/// The largest of |x| over the block.
__device__ float largest_of_block(float x) {
  __shared__ float of_warp[warps];
  for (int s = 16; s > 0; s >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, s));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  for (int w = 0; w < warps; ++w) x = fmaxf(x, of_warp[w]);
  __syncthreads();
  return x;
}

/// e that brings numbers up to `largest` below 2^15; kept where 2^e and 2^-e are normal. bf16 has fp32's range.
template <Numbers numbers>
__device__ int exponent_of(float largest) {
  if (numbers == Numbers::bfloat16 || !(largest > 0.0f)) return 0;
  int const e = ilogbf(largest) - 14;
  return e < -100 ? -100 : e;
}

/// Eight numbers times 2^-e as x1 and x2, 16 bytes each.
template <Numbers numbers>
__device__ void split_eight(float const (&x)[8], float inverse, unsigned char* first, unsigned char* second) {
  std::uint32_t high[4], low[4] = {};
  for (int i = 0; i < 4; ++i) split_pair<numbers>(x[2 * i] * inverse, x[2 * i + 1] * inverse, high[i], low[i]);
  *reinterpret_cast<uint4*>(first) = make_uint4(high[0], high[1], high[2], high[3]);
  if constexpr (parts<numbers> == 2) *reinterpret_cast<uint4*>(second) = make_uint4(low[0], low[1], low[2], low[3]);
}

/// 64 columns of a tile's keys, a row for each key.
constexpr int piece_width = chunk_columns + 1;
using Piece = float[tile_keys * piece_width];

/// Rows of 64 numbers at(row, i) as x1 and x2; eight threads write a row.
template <Numbers numbers, class At>
__device__ void write_rows(int rows, float inverse, unsigned char* to, At const& at) {
  for (int i = thread_index(); i < rows * 8; i += threads) {
    int const row = i / 8, part = i % 8;
    float x[8];
    for (int k = 0; k < 8; ++k) x[k] = at(row, 8 * part + k);
    unsigned char* const place = to + row * 128 + (part ^ (row & 7)) * 16;
    split_eight<numbers>(x, inverse, place, place + tile_chunk_bytes);
  }
}

/// Block t: tile t of packed keys.
template <Numbers numbers>
__global__ void __launch_bounds__(threads)
    split_keys(float const* packed, std::int64_t count, int d, int chunks, unsigned char* tiles, float* scales) {
  constexpr int group = 32;
  __shared__ Piece piece;
  std::int64_t const t = blockIdx.x;
  int const keys = min(std::int64_t{tile_keys}, count - t * tile_keys), groups = (keys + group - 1) / group;
  float const* const from = packed + t * tile_keys * d;
  float largest = 0.0f;
  for (int i = thread_index(); i < groups * group * d; i += threads) largest = fmaxf(largest, fabsf(from[i]));
  int const e = exponent_of<numbers>(largest_of_block(largest));
  if (threadIdx.x == 0) scales[t] = ldexpf(1.0f, e);
  float const inverse = ldexpf(1.0f, -e);
  for (int c = 0; c < chunks; ++c) {
    for (int i = thread_index(); i < tile_keys * chunk_columns; i += threads) {
      int const of_group = i / (group * chunk_columns), own = i / group % chunk_columns, lane = i % group, column = c * chunk_columns + own;
      piece[(of_group * group + lane) * piece_width + own] =
          of_group < groups && column < d ? from[(of_group * d + column) * group + lane] : 0.0f;
    }
    __syncthreads();
    write_rows<numbers>(tile_keys, inverse, tiles + (t * chunks + c) * parts<numbers> * tile_chunk_bytes,
                        [&](int row, int k) { return piece[row * piece_width + k]; });
    __syncthreads();
  }
}

/// Block t: tile t of values (count, d).
template <Numbers numbers>
__global__ void __launch_bounds__(threads)
    split_values(float const* values, std::int64_t count, int d, int pieces, unsigned char* tiles, float* scales) {
  __shared__ Piece piece;
  std::int64_t const t = blockIdx.x;
  int const keys = min(std::int64_t{tile_keys}, count - t * tile_keys);
  float const* const from = values + t * tile_keys * d;
  float largest = 0.0f;
  for (int i = thread_index(); i < keys * d; i += threads) largest = fmaxf(largest, fabsf(from[i]));
  int const e = exponent_of<numbers>(largest_of_block(largest));
  if (threadIdx.x == 0) scales[t] = ldexpf(1.0f, e);
  float const inverse = ldexpf(1.0f, -e);
  for (int p = 0; p < pieces; ++p) {
    for (int i = thread_index(); i < tile_keys * chunk_columns; i += threads) {
      int const key = i / chunk_columns, own = i % chunk_columns, column = p * chunk_columns + own;
      piece[key * piece_width + own] = key < keys && column < d ? from[key * d + column] : 0.0f;
    }
    __syncthreads();
    unsigned char* const to = tiles + (t * pieces + p) * parts<numbers> * tile_chunk_bytes;
    for (int half = 0; half < 2; ++half) {
      write_rows<numbers>(chunk_columns, inverse, to + half * split_value_half,
                          [&](int column, int k) { return piece[(64 * half + k) * piece_width + column]; });
    }
    __syncthreads();
  }
}

/// Warp w of the grid: query row w, zeros past the last one; (row tiles, chunks), x1 then x2 of 64 rows.
template <Numbers numbers>
__global__ void __launch_bounds__(threads)
    split_queries_kernel(float const* queries, int rows, int d, int chunks, unsigned char* tiles, float* scales) {
  int const row = block_x() * warps + thread_index() / 32, lane = thread_index() % 32;
  float const* const from = row < rows ? queries + std::int64_t{row} * d : nullptr;
  float largest = 0.0f;
  for (int c = lane; from != nullptr && c < d; c += 32) largest = fmaxf(largest, fabsf(from[c]));
  for (int s = 16; s > 0; s >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, s));
  int const e = exponent_of<numbers>(largest);
  if (lane == 0) scales[row] = ldexpf(1.0f, e);
  float const inverse = ldexpf(1.0f, -e);
  for (int part = lane; part < chunks * 8; part += 32) {
    float x[8];
    for (int i = 0; i < 8; ++i) x[i] = from != nullptr && part * 8 + i < d ? from[part * 8 + i] : 0.0f;
    int const place = row % query_tile;
    unsigned char* const to = tiles + (std::int64_t{row / query_tile} * chunks + part / 8) * parts<numbers> * query_tile * 128 +
                              place * 128 + (part % 8 ^ (place & 7)) * 16;
    split_eight<numbers>(x, inverse, to, to + query_tile * 128);
  }
}

}  // namespace

void split_tensors(Stream stream, float const* packed_keys, float const* values, SplitTensors const& to) {
  if (to.count == 0) return;
  unsigned const tiles = blocks(tiles_of(to.count));
  auto const launch = [&](auto* const keys_kernel, auto* const values_kernel) {
    keys_kernel<<<tiles, threads, 0, stream>>>(packed_keys, to.count, to.d, chunks_of(to.d), to.keys, to.key_scales);
    values_kernel<<<tiles, threads, 0, stream>>>(values, to.count, to.d, value_pieces(to.d), to.values, to.value_scales);
  };
  if (to.numbers == Numbers::bfloat16) {
    launch(split_keys<Numbers::bfloat16>, split_values<Numbers::bfloat16>);
  } else {
    launch(split_keys<Numbers::half_pairs>, split_values<Numbers::half_pairs>);
  }
  check_launch("splitting of keys and values");
}

void split_queries(Stream stream, Numbers numbers, float const* queries, int rows, int padded, int d, unsigned char* tiles, float* scales) {
  auto* const kernel = numbers == Numbers::bfloat16 ? split_queries_kernel<Numbers::bfloat16> : split_queries_kernel<Numbers::half_pairs>;
  kernel<<<blocks(padded / warps), threads, 0, stream>>>(queries, rows, d, chunks_of(d), tiles, scales);
  check_launch("splitting of queries");
}

}  // namespace asymptop::device
