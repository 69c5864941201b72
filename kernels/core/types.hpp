// Index types and View aliases shared by all kernels.
#pragma once

#include <Kokkos_Core.hpp>
#include <cassert>
#include <cstdint>
#include <type_traits>

namespace asymptop {

/// Position of a key in the whole sequence, up to 2^48.
using GlobalIndex = std::int64_t;
/// Position of a key inside one rank's shard. A shard holds fewer than 2^32 keys.
using LocalIndex = std::uint32_t;
/// That position of a key `offset` places behind its shard's first one.
KOKKOS_FORCEINLINE_FUNCTION LocalIndex local_index(GlobalIndex offset) {
  assert(0 <= offset && offset <= UINT32_MAX);
  return static_cast<LocalIndex>(offset);
}

/// How many of `count` places lie before an end that is `left` places away: `left`, from 0 to `count`.
KOKKOS_FORCEINLINE_FUNCTION int count_within(std::int64_t left, int count) {
  std::int64_t const within = left < count ? left : count;
  return static_cast<int>(within < 0 ? 0 : within);
}

/// Packed keys come in groups: element (key j, column c) at [j / 32][c][j % 32]. A shard's last group is filled with zeros.
inline constexpr int key_group = 32;

template <class Space, class T>
using Vector = Kokkos::View<T*, Kokkos::LayoutRight, typename Space::memory_space>;
template <class Space, class T>
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight, typename Space::memory_space>;
template <class Space, class T>
using Tensor3 = Kokkos::View<T***, Kokkos::LayoutRight, typename Space::memory_space>;

/// Where the host compiler vectorises inner loops (elements in batches) and a row belongs to one thread, so that no
/// atomics are needed. On a device each thread takes one element and rows are shared.
template <class Space>
inline constexpr bool is_host_space = Kokkos::SpaceAccessibility<Kokkos::HostSpace, typename Space::memory_space>::accessible;

/// A team of threads for each of so many rows.
template <class Space>
auto team_per_row(Space const& space, int rows) {
  return Kokkos::TeamPolicy<Space>(space, rows, is_host_space<Space> ? 1 : 256);
}
template <class Space>
using TeamOf = typename Kokkos::TeamPolicy<Space>::member_type;

/// Elements that one loop body handles at once.
template <class Space>
inline constexpr int batch_size = is_host_space<Space> ? 64 : 1;

/// `target += value`, atomically where rows are shared between threads. Only for integers: their sums do not depend on order.
template <class Space, class Integer>
KOKKOS_FORCEINLINE_FUNCTION void add_shared(Integer& target, Integer value) {
  static_assert(std::is_integral_v<Integer>);
  if constexpr (is_host_space<Space>) {
    target += value;
  } else {
    Kokkos::atomic_add(&target, value);
  }
}

/// `counter++`, atomically where rows are shared. (Such choices live in functions, not in kernels: nvcc loses what a lambda first
/// captures inside `if constexpr`.)
template <class Space>
KOKKOS_FORCEINLINE_FUNCTION int next_place(int& counter) {
  if constexpr (is_host_space<Space>) {
    return counter++;
  } else {
    return Kokkos::atomic_fetch_add(&counter, 1);
  }
}

/// Parts that a row's work is cut into where a thread per row would leave a device idle; sums of parts are shared.
template <class Space>
inline constexpr int parts_per_row = is_host_space<Space> ? 1 : 64;

}  // namespace asymptop
