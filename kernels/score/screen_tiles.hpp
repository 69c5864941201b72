// The screen of screen_panel.hpp by products of tiles: 16 rows of queries in 8 bits against a group of 32 keys.
//
// A group's bytes, [four columns][key][4], are the tiles that the processor wants of the right factor: 16 keys, 64 columns each. Sums
// start at zero and are compared with minus what the others start at.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "../core/simd.hpp"
#include "../core/tiles.hpp"
#include "../core/types.hpp"
#include "quantised.hpp"
#include "score_pairs.hpp"

namespace asymptop::simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Rows that meet a group together: their sums stay in the L1 cache, and what a test of one row costs when it is guessed wrong does not
/// hold up the next one's products.
inline constexpr int tile_blocks = 8;
inline constexpr std::size_t tile_pairs = std::size_t{tile_blocks} * tiles::rows * key_group;

/// A block of at most 16 rows for tiles.
struct TileRows {
  std::int32_t const* q;  ///< [64 columns][16 rows][64 bytes], zeros past the last of either
  int first_row, rows;
};

/// Screens blocks of rows against one group after another. A thread has one at a time, which has its tile registers.
class TileScreen {
 public:
  explicit TileScreen(int steps)
      : whole_((steps - 1) / tiles::rows), last_(steps - whole_ * tiles::rows), ahead_(std::ptrdiff_t{steps} * group_row) {
    tiles::Shapes shapes;
    for (int t : {0, 1, 2, 3, 4}) shapes.set(t, tiles::rows, tiles::row_bytes);
    shapes.set(5, tiles::rows, 4 * last_);
    if (whole_ == 0) shapes.set(2, tiles::rows, 4 * last_);
    for (int t : {6, 7}) shapes.set(t, last_, tiles::row_bytes);
    tiles::configure(shapes);
  }
  ~TileScreen() { tiles::release(); }
  TileScreen(TileScreen const&) = delete;
  TileScreen& operator=(TileScreen const&) = delete;

  /// The group that the next blocks meet; bytes as QuantisedKeys's.
  void take_group(std::uint8_t const* keys) {
    keys_ = keys;
    // The next group's bytes are asked for meanwhile.
    for (std::ptrdiff_t line = 0; line < ahead_; line += 64) __builtin_prefetch(keys + ahead_ + line, 0, 3);
    std::uint8_t const* const last = keys + whole_ * piece;
    tiles::load<6>(last, group_row);
    tiles::load<7>(last + tiles::row_bytes, group_row);
    if (whole_ == 1) load_whole(0);
  }

  /// Where the sums of block b of the next screen() start, 16 of them (screen_panel.hpp).
  std::int32_t* start(int b) { return &start_[b * tiles::rows]; }

  /// Writes the pairs of `count` blocks, at most tile_blocks, whose sums from start() on are not negative, as screen_tile() does, and
  /// returns where the next one goes.
  RowKeyPair* screen(TileRows const* blocks, int count, RowKeyPair* passed) {
    if (whole_ == 0) {
      multiply_in_turns(blocks, count);
    } else {
      for (int b = 0; b < count; ++b) multiply(blocks[b].q, sums_[b * tiles::rows]);
    }
    for (int r = 0; r < count * tiles::rows; r += width) store(start_ + r, -load(start_ + r));
    for (int r = 0; r < count * tiles::rows; ++r) {
      Ints const least = broadcast(start_[r]);
      std::uint32_t mask = 0;
#pragma GCC unroll 16
      for (int l = 0; l < key_group; l += width) mask |= not_below(load(sums_[r] + l), least) << l;
      masks_[r] = mask;
    }
    for (int b = 0; b < count; ++b) {
      auto const* const masks = &masks_[b * tiles::rows];
      std::uint32_t some = 0;
      for (int l = 0; l < tiles::rows; l += width)
        some |= (equal(load(reinterpret_cast<std::int32_t const*>(masks) + l), Ints{}) ^ all_lanes) << l;
      for (some &= (1u << blocks[b].rows) - 1u; some != 0; some &= some - 1) {
        int const r = std::countr_zero(some);
        RowKeyPair const base = (blocks[b].first_row + r) * key_group;
        for (auto mask = masks[r]; mask != 0; mask &= mask - 1) *passed++ = base + std::countr_zero(mask);
      }
    }
    return passed;
  }

 private:
  static constexpr int group_row = 4 * key_group, piece = tiles::rows * group_row;

  void load_whole(int w) const {
    tiles::load<3>(keys_ + w * piece, group_row);
    tiles::load<4>(keys_ + w * piece + tiles::row_bytes, group_row);
  }

  /// Products of 16 rows with the group's keys, (16, 32).
  void multiply(std::int32_t const* q, std::int32_t* sums) const {
    constexpr int words = tiles::rows * tiles::row_bytes / 4;
    tiles::zero<0>();
    tiles::zero<1>();
    for (int w = 0; w < whole_; ++w) {
      if (whole_ > 1) load_whole(w);
      tiles::load<2>(q + w * words, tiles::row_bytes);
      tiles::add_products<0, 2, 3>();
      tiles::add_products<1, 2, 4>();
    }
    tiles::load<5>(q + whole_ * words, tiles::row_bytes);
    tiles::add_products<0, 5, 6>();
    tiles::add_products<1, 5, 7>();
    tiles::store<0>(sums, 4 * key_group);
    tiles::store<1>(sums + key_group / 2, 4 * key_group);
  }

  /// The same of blocks with keys of one piece: one block's sums are stored while the next one's are made.
  void multiply_in_turns(TileRows const* blocks, int count) {
    auto const store_even = [&](int b) {
      tiles::store<0>(sums_[b * tiles::rows], 4 * key_group);
      tiles::store<1>(sums_[b * tiles::rows] + key_group / 2, 4 * key_group);
    };
    auto const store_odd = [&](int b) {
      tiles::store<3>(sums_[b * tiles::rows], 4 * key_group);
      tiles::store<4>(sums_[b * tiles::rows] + key_group / 2, 4 * key_group);
    };
    for (int b = 0; b < count; b += 2) {
      tiles::load<5>(blocks[b].q, tiles::row_bytes);
      tiles::zero<0>();
      tiles::zero<1>();
      tiles::add_products<0, 5, 6>();
      tiles::add_products<1, 5, 7>();
      if (b > 0) store_odd(b - 1);
      if (b + 1 < count) {
        tiles::load<2>(blocks[b + 1].q, tiles::row_bytes);
        tiles::zero<3>();
        tiles::zero<4>();
        tiles::add_products<3, 2, 6>();
        tiles::add_products<4, 2, 7>();
      }
      store_even(b);
    }
    if (count % 2 == 0) store_odd(count - 1);
  }

  int whole_;             ///< pieces of 64 columns before the last
  int last_;              ///< fours of columns of the last piece
  std::ptrdiff_t ahead_;  ///< bytes of a group
  std::uint8_t const* keys_ = nullptr;
  alignas(64) std::int32_t sums_[tile_blocks * tiles::rows][key_group];
  alignas(64) std::int32_t start_[tile_blocks * tiles::rows];
  alignas(64) std::uint32_t masks_[tile_blocks * tiles::rows];
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
