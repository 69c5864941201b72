// From rows to packed groups of keys.
#pragma once

#include <cstdint>

#include "types.hpp"

namespace asymptop {

/// Packs rows [0, count) of a row-major (count, d) matrix as whole groups; what is past them in the last group becomes 0.
inline void pack_keys(float const* rows, std::int64_t count, int d, float* packed) {
  for (std::int64_t g = 0; g < count; g += key_group) {
    float* out = packed + g * d;
    auto const keys = count - g < key_group ? count - g : std::int64_t{key_group};
    for (int c = 0; c < d; ++c) {
      for (std::int64_t l = 0; l < keys; ++l) out[c * key_group + l] = rows[(g + l) * d + c];
      for (std::int64_t l = keys; l < key_group; ++l) out[c * key_group + l] = 0.0f;
    }
  }
}

}  // namespace asymptop
