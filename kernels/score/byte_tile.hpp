// Products of 8-bit queries and keys in registers: the inside of the tiles that screen keys (screen_panel.hpp) and of those that keep the
// products (byte_products.hpp).
#pragma once

#include <cstdint>

#include "../core/simd.hpp"
#include "../core/types.hpp"

namespace asymptop::simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// sum(r, v) = start[r] + products of `rows` rows with `vectors` * width keys of a group, from lane `first_lane` on. q: four columns of a
/// row in 32 bits at [step][row], row_step rows a step; keys: bytes plus 128 at [step][key][4 columns].
template <Dot dot, int rows, int vectors>
ASYMPTOP_SIMD_INLINE void add_byte_products(std::int32_t const* q, int row_step, std::uint8_t const* keys, int steps,
                                            std::int32_t const* start, int first_lane, Ints (&sum)[rows][vectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) sum[r][v] = broadcast(start[r]);
  }
  auto const* words = reinterpret_cast<std::int32_t const*>(keys) + first_lane;
  for (int c = 0; c < steps; ++c) {
    Ints k[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) k[v] = load(words + c * key_group + v * width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      Ints const x = broadcast(q[c * row_step + r]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sum[r][v] = dot4<dot>(sum[r][v], k[v], x);
    }
  }
}

/// What `make`, a template over Dot, gives for the dot product that is best here; `without` the instruction for another.
template <Dot without = Dot::spelt_out, class Make>
auto of_best_dot(Make const& make) {
  if constexpr (chooses_dot4) {
    return has_dot4() ? make.template operator()<Dot::instruction>() : make.template operator()<without>();
  } else {
    return make.template operator() < target_has_dot4 ? Dot::instruction : without > ();
  }
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
