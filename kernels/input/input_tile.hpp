// Synthetic tensors of any kind of input, as tiles of rows and in packed groups. Normal ones go the way of normal_tile.hpp and
// normal_packed.hpp.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/pack_keys.hpp"
#include "input_rows.hpp"
#include "normal_packed.hpp"
#include "normal_tile.hpp"

namespace asymptop {

/// Replaces planted rows among [first, first + rows) of a tile.
template <class Space>
void plant_in_tile(Space const& space, InputSource<Space> const& source, GlobalIndex first, int rows, Matrix<Space, float> const& tile) {
  auto const planted = source.planted;
  auto const planted_rows = source.planted_rows;
  int const d = tile.extent_int(1);
  Kokkos::parallel_for(
      "Asymptop::input::plant", Kokkos::RangePolicy<Space>(space, 0, planted.extent_int(0)), KOKKOS_LAMBDA(int const i) {
        auto const at = planted(i) - first;
        if (at < 0 || at >= rows) return;
        for (int c = 0; c < d; ++c) tile(at, c) = planted_rows(i, c);
      });
}

/// Rows [first, first + rows) of a (., d) tensor into tile rows [0, rows); tile rows [rows, padded) become 0.
template <class Space>
void fill_input(Space const& space, InputSource<Space> const& source, GlobalIndex first, int rows, int padded,
                Matrix<Space, float> const& tile) {
  int const d = tile.extent_int(1);
  if (source.normal()) {
    fill_normal(space, source.stream, first, rows, padded, tile);
  } else if constexpr (is_host_space<Space>) {
    RoundKeys const keys(source.stream);
    Kokkos::parallel_for(
        "Asymptop::input::rows", Kokkos::RangePolicy<Space>(space, 0, (padded + rows_together - 1) / rows_together), [=](int const g) {
          int const begin = g * rows_together, end = std::min(begin + rows_together, padded), real = std::clamp(rows, begin, end);
          if (real > begin) make_rows(source, keys, first + begin, real - begin, d, &tile(begin, 0));
          if (end > real) std::fill_n(&tile(real, 0), std::int64_t{end - real} * d, 0.0f);
        });
  } else {
    Kokkos::parallel_for(
        "Asymptop::input::rows", Kokkos::RangePolicy<Space>(space, 0, padded), KOKKOS_LAMBDA(int const i) {
          if (i < rows) {
            input_row(source, first + i, d, &tile(i, 0));
          } else {
            for (int c = 0; c < d; ++c) tile(i, c) = 0.0f;
          }
        });
  }
  if (source.planted.extent(0) > 0) plant_in_tile(space, source, first, rows, tile);
}

/// Rows [first, first + rows) in groups of 32, as fill_normal_packed() lays them out. The same bits as fill_input's.
template <class Space>
void fill_input_packed(Space const& space, InputSource<Space> const& source, GlobalIndex first, GlobalIndex rows, int d, float* packed) {
  static_assert(is_host_space<Space>, "packed keys are for host kernels");
  if (source.normal()) {
    fill_normal_packed(space, source.stream, first, rows, d, packed);
  } else {
    RoundKeys const keys(source.stream);
    Kokkos::parallel_for("Asymptop::input::rows_packed",
                         Kokkos::RangePolicy<Space, Kokkos::IndexType<GlobalIndex>>(space, 0, (rows + rows_together - 1) / rows_together),
                         [=](GlobalIndex const g) {
                           auto const begin = g * rows_together;
                           int const here = count_within(rows - begin, rows_together);
                           std::vector<float> made(here * d);
                           make_rows(source, keys, first + begin, here, d, made.data());
                           pack_keys(made.data(), here, d, packed + begin * d);
                         });
  }
  if (source.planted.extent(0) == 0) return;
  auto const planted = source.planted;
  auto const planted_rows = source.planted_rows;
  Kokkos::parallel_for("Asymptop::input::plant_packed", Kokkos::RangePolicy<Space>(space, 0, planted.extent_int(0)), [=](int const i) {
    auto const at = planted(i) - first;
    if (at < 0 || at >= rows) return;
    float* const out = packed + at / key_group * key_group * d + at % key_group;
    for (int c = 0; c < d; ++c) out[c * key_group] = planted_rows(i, c);
  });
}

/// Largest 2-norm of rows [first, first + rows), for input whose coordinates have no useful bound.
template <class Space>
double largest_row_norm(Space const& space, InputSource<Space> const& source, GlobalIndex first, GlobalIndex rows, int d) {
  constexpr int piece = 4096;
  Matrix<Space, float> const tile(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::input::normed"), count_within(rows, piece), d);
  double largest = 0.0;
  for (GlobalIndex done = 0; done < rows; done += piece) {
    int const here = count_within(rows - done, piece);
    fill_input(space, source, first + done, here, here, tile);
    double square = 0.0;
    Kokkos::parallel_reduce(
        "Asymptop::input::norms", Kokkos::RangePolicy<Space>(space, 0, here),
        KOKKOS_LAMBDA(int const i, double& worst) {
          double sum = 0.0;
          for (int c = 0; c < d; ++c) {
            double const x = tile(i, c);
            sum += x * x;
          }
          worst = sum > worst ? sum : worst;
        },
        Kokkos::Max<double>(square));
    space.fence();
    largest = std::max(largest, square);
  }
  return std::sqrt(largest);
}

}  // namespace asymptop
