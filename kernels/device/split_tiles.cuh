// Pairs of fp16 numbers, and bf16 numbers: what makes them and where they lie (attention.hpp, split_tiles.cu).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attention.hpp"

namespace asymptop::device {

/// Bytes of 64 queries x 64 columns, x1 then x2; and of 64 columns of values x 64 keys.
constexpr int split_query_piece(Numbers numbers) { return parts_of(numbers) * query_tile * 128; }
/// 16-bit numbers for one of a tensor, for kernels.
template <Numbers numbers>
constexpr int parts = parts_of(numbers);
constexpr int split_value_half = chunk_columns * 128;

/// x and y as fp16 numbers, x in the lower half, and what they miss of x and y; or as bf16 numbers, with `low` as it was.
template <Numbers numbers>
__device__ void split_pair(float x, float y, std::uint32_t& high, std::uint32_t& low) {
  if constexpr (numbers == Numbers::bfloat16) {
    __nv_bfloat162 const near = __floats2bfloat162_rn(x, y);
    high = *reinterpret_cast<std::uint32_t const*>(&near);
    return;
  }
  __half2 const near = __floats2half2_rn(x, y);
  float2 const back = __half22float2(near);
  __half2 const rest = __floats2half2_rn(x - back.x, y - back.y);
  high = *reinterpret_cast<std::uint32_t const*>(&near);
  low = *reinterpret_cast<std::uint32_t const*>(&rest);
}

/// Queries (rows, d) as such numbers, `padded` rows of them, a multiple of query_tile. Without waiting.
void split_queries(Stream stream, Numbers numbers, float const* queries, int rows, int padded, int d, unsigned char* tiles, float* scales);

}  // namespace asymptop::device
