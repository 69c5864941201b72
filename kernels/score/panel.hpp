// Packed operands and the register tile of the fused kernels: query panels x groups of keys.
//
// A score is one chain of fused multiply-adds over the columns in ascending order, started at +0:
//   s = fma(q_{d-1}, k_{d-1}, ... fma(q_1, k_1, fma(q_0, k_0, 0))).
// It does not depend on the panel, the tile, the vector width or the thread that it was computed by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../core/pack_keys.hpp"
#include "../core/simd.hpp"
#include "../core/types.hpp"

namespace asymptop {

/// Floats that `keys` packed keys of d columns take.
inline std::size_t packed_size(std::int64_t keys, int d) { return (keys + key_group - 1) / key_group * key_group * d; }

/// Query rows of one register tile, at most.
inline constexpr int panel_rows = 12;

/// Keys whose scores against one panel are held at once.
inline constexpr int score_strip = 512;

/// Scores of one panel against one strip of keys, in the L1 cache.
struct alignas(64) ScoreStrip {
  float at[panel_rows * score_strip];
};

/// What ALiBi adds to scores: slope (key - query) of their places (alibi.hpp).
struct Alibi {
  double slope = 0.0;                  ///< 0: nothing
  std::vector<std::int64_t> places{};  ///< (rows) of the queries, counted as keys are; empty without a slope
};

/// A batch of query rows cut into panels of nearly equal size. Within a panel: [column][row].
struct PackedQueries {
  struct Panel {
    int first_row;
    int rows;
    std::int64_t offset;
  };
  int d = 0;
  int rows = 0;
  std::vector<Panel> panels;
  std::vector<float> data;
  double softcap = 0.0;  ///< scores are softcap tanh(q . k / softcap); 0: q . k
  Alibi alibi{};         ///< and this on top
  int panel_count() const { return int_size(panels); }
  /// A row's numbers, by column.
  struct Row {
    float const* first;
    int step;
    float operator()(int c) const { return first[std::ptrdiff_t{c} * step]; }
  };
  Row row(int index) const {
    auto const after =
        std::upper_bound(panels.begin(), panels.end(), index, [](int wanted, Panel const& p) { return wanted < p.first_row; });
    auto const& panel = *std::prev(after);
    return {&data[panel.offset] + (index - panel.first_row), panel.rows};
  }

  PackedQueries() = default;
  /// q: row-major (row_count, columns).
  PackedQueries(float const* q, int row_count, int columns) : PackedQueries(q, row_count, columns, row_count) {}
  /// Panels end at multiples of `tile` rows: a tile is cut in the same way in every batch that holds it.
  PackedQueries(float const* q, int row_count, int columns, int tile) : d(columns), rows(row_count) {
    data.resize(std::int64_t{rows} * d);
    for (int first = 0; first < rows; first += tile) add_tile(q, first, rows - first < tile ? rows - first : tile);
  }

 private:
  void add_tile(float const* q, int tile_first, int tile_rows) {
    int const count = (tile_rows + panel_rows - 1) / panel_rows;
    auto const edge = [&](int p) { return tile_first + checked_int(std::int64_t{tile_rows} * p / count); };
    for (int p = 0; p < count; ++p) {
      int const first = edge(p), end = edge(p + 1);
      Panel const panel{first, end - first, std::int64_t{first} * d};
      for (int c = 0; c < d; ++c) {
        for (int r = 0; r < panel.rows; ++r) data[panel.offset + c * panel.rows + r] = q[std::int64_t{first + r} * d + c];
      }
      panels.push_back(panel);
    }
  }
};

namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Floats between what is read and what is asked for: 8 KiB. Half and double of it read as fast, a quarter and four times 4% slower.
inline constexpr int fetch_ahead = 2048;

/// `rows` x (`vectors` * width) scores of one group; q has `row_step` rows a column; `keys` starts at the tile's first lane.
template <int rows, int vectors>
ASYMPTOP_SIMD_INLINE void score_tile(float const* q, int row_step, float const* keys, int d, float* scores, std::ptrdiff_t score_step) {
  Floats sum[rows][vectors] = {};
  for (int c = 0; c < d; ++c) {
    Floats k[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) k[v] = load(keys + c * key_group + v * width);
    // Few rows wait for memory: lines further on are asked for in time.
    if constexpr (rows <= 2) {
      for (int v = 0; v < vectors; v += 16 / width) __builtin_prefetch(keys + fetch_ahead + c * key_group + v * width);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      Floats const x = broadcast(q[c * row_step + r]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sum[r][v] = fma(x, k[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) store(scores + r * score_step + v * width, sum[r][v]);
  }
}

/// Registers for sums: 24 of 32 with AVX-512, 12 of 16 otherwise.
inline constexpr int tile_vectors = 2;
inline constexpr int tile_rows = width == 16 ? 12 : 6;

/// Scores of a panel of `rows` rows against `groups` groups of keys: scores(r, j) at scores[r * score_step + j].
template <int rows>
void score_panel(float const* q, float const* keys, int groups, int d, float* scores, std::ptrdiff_t score_step) {
  for (int g = 0; g < groups; ++g) {
    float const* group = keys + std::ptrdiff_t{g} * key_group * d;
    for (int l = 0; l < key_group; l += tile_vectors * width) {
      float* out = scores + g * key_group + l;
      if constexpr (rows <= tile_rows) {
        score_tile<rows, tile_vectors>(q, rows, group + l, d, out, score_step);
      } else {
        score_tile<tile_rows, tile_vectors>(q, rows, group + l, d, out, score_step);
        score_tile<rows - tile_rows, tile_vectors>(q + tile_rows, rows, group + l, d, out + tile_rows * score_step, score_step);
      }
    }
  }
}

using ScorePanel = void (*)(float const*, float const*, int, int, float*, std::ptrdiff_t);

/// The function for a panel of 1 to panel_rows rows.
inline ScorePanel score_panel_of(int rows) {
  static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {
    struct Table {
      ScorePanel of[sizeof...(r)];
    };
    return Table{{score_panel<r + 1>...}};
  }
  (std::make_integer_sequence<int, panel_rows>());
  return table.of[rows - 1];
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd

}  // namespace asymptop
