// fp32 rows to tiles of bf16 in the layout that wgmma reads from shared memory, with the norms that certify them.
//
// A tile of R rows (128 keys or 64 queries) is one piece of R x 128 bytes for each 64 columns: row r at r * 128 bytes, its 16-byte parts
// exchanged by part ^ (r % 8), which is the 128-byte swizzle. Keys lie so that a thread of the screen finds the scores of 32 consecutive
// keys in its accumulators: key 32 q + 2 j + b in row 8 j + 2 q + b, for q < 4, j < 16, b < 2.
#include "common.cuh"

namespace asymptop::device {
namespace {

constexpr int threads = 256, warps = threads / 32;

/// The nearest bf16 number (ties to even), as fp32; subnormals are made zero, what overflows becomes infinite.
__device__ float to_bf16(float x) {
  std::uint32_t const bits = __float_as_uint(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  float const rounded = __uint_as_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
  return fabsf(rounded) < 0x1p-126f ? 0.0f : rounded;
}

/// Lanes that share a row: each rounds 8 consecutive columns of a piece, 16 bytes.
constexpr int row_lanes = 8, rows_at_once = threads / row_lanes;

__device__ double sum_of_row(double x) {
  for (int s = row_lanes / 2; s > 0; s >>= 1) x += __shfl_xor_sync(~0u, x, s);
  return x;
}

/// Squared norms of a row's rounded columns, of what rounding left, and of all.
struct RowNorms {
  double rounded = 0.0, residual = 0.0, whole = 0.0;
};

/// Eight lanes round a row of d columns (null: zeros) into row `place` of a tile whose pieces are `piece` bytes.
template <bool whole>
__device__ RowNorms round_row(float const* row, int d, int chunks, unsigned char* tile, int place, int piece) {
  int const lane = thread_index() % row_lanes;
  RowNorms norms;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    int const c = chunk * chunk_columns + 8 * lane;
    float x[8] = {};
    if (row != nullptr && c + 8 <= d && d % 4 == 0) {
      auto const* const from = reinterpret_cast<float4 const*>(row + c);
      float4 const a = from[0], b = from[1];
      x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    } else if (row != nullptr) {
      for (int i = 0; i < 8; ++i) x[i] = c + i < d ? row[c + i] : 0.0f;
    }
    std::uint32_t words[4];
    for (int i = 0; i < 8; ++i) {
      float const rounded = to_bf16(x[i]);
      double const k = rounded, rest = x[i] - rounded;  // exactly
      norms.rounded += k * k;
      norms.residual += rest * rest;
      if constexpr (whole) norms.whole += double{x[i]} * double{x[i]};
      std::uint32_t const bits = __float_as_uint(rounded);
      words[i / 2] = i % 2 == 0 ? bits >> 16 : words[i / 2] | bits;
    }
    *reinterpret_cast<uint4*>(tile + std::int64_t{chunk} * piece + place * 128 + (lane ^ (place & 7)) * 16) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
  return {sum_of_row(norms.rounded), sum_of_row(norms.residual), whole ? sum_of_row(norms.whole) : 0.0};
}

/// A root rounded up: fp64 sums of squares of at most most_columns numbers are right to 1e-12.
__device__ double root_up(double squares) { return sqrt(squares) * (1.0 + 1e-11); }

/// The larger, or a NaN: a tile with one claims nothing.
__device__ double larger_or_nan(double a, double b) { return b != b || a <= b ? b : a; }

/// Block t: tile t of `count` keys, key j of which is key j * population / count of the rows.
__global__ void __launch_bounds__(threads)
    make_tiles(float const* rows, std::int64_t population, std::int64_t count, int d, int chunks, unsigned char* tiles, TileBound* bounds) {
  __shared__ double residuals[warps], norms[warps];
  int const thread = thread_index();
  std::int64_t const t = blockIdx.x;
  unsigned char* const tile = tiles + t * chunks * tile_chunk_bytes;
  double residual = 0.0, norm = 0.0;
  for (int k = thread / row_lanes; k < tile_keys; k += rows_at_once) {
    std::int64_t const j = t * tile_keys + k;
    int const q = k / 32, e = k % 32, place = 8 * (e / 2) + 2 * q + e % 2;
    float const* const row = j < count ? rows + (population == count ? j : j * population / count) * d : nullptr;
    auto const of_row = round_row<false>(row, d, chunks, tile, place, tile_chunk_bytes);
    residual = larger_or_nan(of_row.residual, residual);
    norm = larger_or_nan(of_row.rounded, norm);
  }
  for (int s = 16; s >= row_lanes; s >>= 1) {
    residual = larger_or_nan(__shfl_xor_sync(~0u, residual, s), residual);
    norm = larger_or_nan(__shfl_xor_sync(~0u, norm, s), norm);
  }
  if (thread % 32 == 0) {
    residuals[thread / 32] = residual;
    norms[thread / 32] = norm;
  }
  __syncthreads();
  if (thread != 0) return;
  for (int w = 1; w < warps; ++w) {
    residual = larger_or_nan(residuals[w], residual);
    norm = larger_or_nan(norms[w], norm);
  }
  bounds[t] = {__double2float_ru(root_up(residual)), __double2float_ru(root_up(norm))};
}

/// Block b: rows [32 b, 32 b + 32), half a query tile.
__global__ void __launch_bounds__(threads)
    make_query_tiles_kernel(float const* queries, int rows, int d, int chunks, unsigned char* tiles, QueryBound* bounds) {
  double const gamma = d * 0x1p-24 / (1.0 - d * 0x1p-24), delta = d * 0x1p-21;
  constexpr int piece = query_tile * 128;
  int const row = block_x() * rows_at_once + thread_index() / row_lanes;
  auto const of_row = round_row<true>(row < rows ? queries + std::int64_t{row} * d : nullptr, d, chunks,
                                      tiles + std::int64_t{row / query_tile} * chunks * piece, row % query_tile, piece);
  double const q = root_up(of_row.whole), phi = root_up(of_row.residual);
  if (threadIdx.x % row_lanes == 0)
    bounds[row] = {__double2float_ru(q * (1.0 + gamma) * (1.0 + 1e-12)),
                   __double2float_ru((phi + delta * (q + phi) + gamma * q) * (1.0 + 1e-12))};
}

}  // namespace

void make_screen_keys(Stream stream, ScreenKeys const& keys) {
  int const chunks = chunks_of(keys.d);
  auto const make = [&](std::int64_t count, unsigned char* tiles, TileBound* bounds) {
    if (count == 0) return;
    make_tiles<<<blocks(tiles_of(count)), threads, 0, stream>>>(keys.rows, keys.count, count, keys.d, chunks, tiles, bounds);
    check_launch("rounding of keys");
  };
  make(keys.count, keys.tiles, keys.bounds);
  make(sample_of(keys.count), keys.sample_tiles, keys.sample_bounds);
}

void make_query_tiles(Stream stream, TopKPlan const& plan, float const* queries, Workspace const& work) {
  make_query_tiles_kernel<<<blocks(padded_rows(plan.rows) / rows_at_once), threads, 0, stream>>>(
      queries, plan.rows, plan.d, chunks_of(plan.d), work.query_tiles, work.query_bounds);
  check_launch("rounding of queries");
}

}  // namespace asymptop::device
