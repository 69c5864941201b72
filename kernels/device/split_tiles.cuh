// Pairs of fp16 numbers: what makes them and where they lie (attention.hpp, split_tiles.cu).
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention.hpp"

namespace asymptop::device {

/// Bytes of 64 queries x 64 columns, x1 then x2; and of 64 columns of values x 64 keys.
constexpr int split_query_piece = 2 * query_tile * 128, split_value_half = chunk_columns * 128;

/// x and y as fp16 numbers, x in the lower half, and what they miss of x and y.
__device__ inline void split_pair(float x, float y, std::uint32_t& high, std::uint32_t& low) {
  __half2 const near = __floats2half2_rn(x, y);
  float2 const back = __half22float2(near);
  __half2 const rest = __floats2half2_rn(x - back.x, y - back.y);
  high = *reinterpret_cast<std::uint32_t const*>(&near);
  low = *reinterpret_cast<std::uint32_t const*>(&rest);
}

/// Queries (rows, d) as pairs, `padded` rows of them, a multiple of query_tile. Without waiting.
void split_queries(Stream stream, float const* queries, int rows, int padded, int d, unsigned char* tiles, float* scales);

}  // namespace asymptop::device
