// Synthetic normal tensors made in device memory: the bits of input/philox_normal.hpp on a host with fused multiply-adds.
#pragma once

#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Rows [first, first + count) of a (., d) tensor of the random stream (key0, key1).
struct NormalArguments {
  std::uint32_t key0, key1;
  std::uint64_t first;
  std::int64_t count;
  int d;
};

/// In whole groups of 32, [group][column][row], zeros past the last row. Without waiting.
void make_packed_normals(Stream stream, NormalArguments const& arguments, float* packed);
/// Row by row, (count, d). Without waiting.
void make_normal_rows(Stream stream, NormalArguments const& arguments, float* rows);

}  // namespace asymptop::device
