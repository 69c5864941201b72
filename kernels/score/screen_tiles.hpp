// The screen of screen_panel.hpp by products of tiles: a group of 32 keys in 8 bits against 16 rows of queries.
//
// Keys are a tile's rows and queries its columns: all sums of a query then lie in one lane, and one line of 16 numbers, added to each key's
// sums, makes their signs tell which keys pass. (Tiles that start at that line would spare the addition, but a tile is not loaded before
// every older store has left the core, those of the block before among them.)
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/simd.hpp"
#include "../core/tiles.hpp"
#include "../core/types.hpp"
#include "quantised.hpp"
#include "score_pairs.hpp"

namespace asymptop::simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Whether screens go by tiles here; keys are then quantised by_keys.
inline bool screens_by_tiles() { return width >= 8 && tiles::usable(); }
inline GroupLayout screen_layout() { return screens_by_tiles() ? GroupLayout::by_keys : GroupLayout::by_columns; }

/// Most pairs that screening one block against one group can bring, and places past them that may be written.
inline constexpr std::size_t tile_pairs = std::size_t{tiles::rows} * key_group + 2;

/// A block of at most 16 rows for tiles.
struct TileRows {
  std::int32_t const* q;  ///< [step of four columns][16 rows], zeros past the last row
  int first_row;
};

/// Each lane of `bits` moved up by one, with the sign of x behind it.
ASYMPTOP_SIMD_INLINE Ints append_sign(Ints bits, Ints x) {
#if defined(ASYMPTOP_SIMD_AVX512) && !defined(ASYMPTOP_TILES_EMULATED)
  // Every processor with tiles has it (AVX512-VBMI2), though not every one that this is compiled for.
  asm("vpshldd $1, %1, %0, %0" : "+v"(bits) : "v"(x));
  return bits;
#else
  return bits << 1 | (x >> 31 & 1);
#endif
}

/// Bit j of lane r: whether the sum of key j and row r, with the row's start added, is not negative. sums: [key_group][16 rows].
/// Shuffles and compares would wait for the port that multiplies tiles; additions and shifts have another one.
ASYMPTOP_SIMD_INLINE Ints not_negative(std::int32_t const* sums, Ints start) {
  constexpr int half = key_group / 2;
  Ints low{}, high{};
#pragma GCC unroll 16
  for (int j = half - 1; j >= 0; --j) {
    low = append_sign(low, load(sums + j * tiles::rows) + start);
    high = append_sign(high, load(sums + (half + j) * tiles::rows) + start);
  }
  return ~(low | high << half);
}

/// What a row of a block adds to the pair of its first row.
struct RowPairs {
  alignas(64) RowKeyPair at[tiles::rows] = {};
  constexpr RowPairs() {
    for (int r = 0; r < tiles::rows; ++r) at[r] = r * key_group;
  }
};
inline constexpr RowPairs row_pairs{};

/// Screens blocks of rows against one group after another. A thread has one at a time, which has its tile registers.
///
/// Products take their time, and so do stores of tiles. Several blocks are therefore under way at once: one is multiplied, the sums of the
/// one before are stored, those of an older one are looked at. No branch among these depends on what passes: guessed wrong, it would
/// empty the pipeline of tiles. Rows of which something passes are put in a list, which becomes pairs at the end of the group.
class TileScreen {
 public:
  /// steps: fours of columns; blocks: most of them that are screened at a time.
  TileScreen(int steps, std::size_t blocks)
      : whole_((steps - 1) / tiles::rows),
        key_bytes_(4 * steps),
        ahead_(std::ptrdiff_t{steps} * 4 * key_group),
        bits_(blocks * tiles::rows + width),
        pairs_(bits_.size()) {
    int const last = steps - whole_ * tiles::rows;
    tiles::Shapes shapes;
    for (int t : {0, 1, 2, 3}) shapes.set(t, tiles::rows, tiles::row_bytes);
    shapes.set(4, whole_ == 0 ? last : tiles::rows, tiles::row_bytes);
    shapes.set(5, last, tiles::row_bytes);
    for (int t : {6, 7}) shapes.set(t, tiles::rows, 4 * last);
    tiles::configure(shapes);
  }
  ~TileScreen() { tiles::release(); }
  TileScreen(TileScreen const&) = delete;
  TileScreen& operator=(TileScreen const&) = delete;

  /// Multiplies blocks with a group, bytes as QuantisedKeys's, by_keys, and writes the pairs whose sums are not negative, as screen_tile()
  /// does. Before block b is multiplied start(b, sums) says where its 16 sums start (start_sums of screen_panel.hpp). Returns where the
  /// next pair goes; up to two places past the last one are written.
  template <class Start>
  RowKeyPair* screen(std::uint8_t const* keys, std::vector<TileRows> const& blocks, Start const& start, RowKeyPair* passed) {
    take_group(keys);
    int const count = static_cast<int>(blocks.size());
    int listed = 0;
    for (int b = 0; b < count + lag; ++b) {
      if (b < count) {
        start(b, start_[b % places]);
        multiply(b, blocks[b].q);
      }
      if (b > 0 && b <= count) store_delayed(b - 1);
      if (b >= lag) listed = list(b - lag, blocks[b - lag].first_row * key_group, listed);
    }
    for (int i = 0; i < listed; ++i) {
      // Two are written in any case: whether there is a second is hard to predict, more are rare.
      std::uint32_t const bits = bits_[i], rest = bits & (bits - 1);
      passed[0] = pairs_[i] + std::countr_zero(bits);
      passed[1] = pairs_[i] + std::countr_zero(rest);
      passed += rest == 0 ? 1 : 2;
      for (std::uint32_t more = rest & (rest - 1); more != 0; more &= more - 1) [[unlikely]]* passed++ = pairs_[i] + std::countr_zero(more);
    }
    return passed;
  }

 private:
  /// Sums are looked at so many blocks after they were multiplied, and places are used again later than that.
  static constexpr int lag = 2, places = 4;

  std::ptrdiff_t upper() const { return std::ptrdiff_t{key_group / 2} * key_bytes_; }

  void take_group(std::uint8_t const* keys) {
    keys_ = keys;
    // The next group's bytes are asked for meanwhile.
    for (std::ptrdiff_t line = 0; line < ahead_; line += 64) __builtin_prefetch(keys + ahead_ + line, 0, 3);
    tiles::load<6>(keys + whole_ * tiles::row_bytes, key_bytes_);
    tiles::load<7>(keys + whole_ * tiles::row_bytes + upper(), key_bytes_);
    if (whole_ == 1) load_whole(0);
  }

  void load_whole(int w) const {
    tiles::load<2>(keys_ + w * tiles::row_bytes, key_bytes_);
    tiles::load<3>(keys_ + w * tiles::row_bytes + upper(), key_bytes_);
  }

  void multiply(int block, std::int32_t const* q) {
    if (whole_ > 0) {
      multiply_pieces(q);
      store_sums<0, 1>(block);
    } else if (block % 2 == 0) {
      multiply_piece<0, 1, 4>(q);
    } else {
      multiply_piece<2, 3, 5>(q);
    }
  }

  /// Keys of one piece: two sets of registers take turns, so that one block's sums are stored while the next one's are made.
  template <int low, int high, int queries>
  void multiply_piece(std::int32_t const* q) {
    tiles::load<queries>(q, tiles::row_bytes);
    tiles::zero<low>();
    tiles::zero<high>();
    tiles::add_products<low, 6, queries>();
    tiles::add_products<high, 7, queries>();
  }

  void multiply_pieces(std::int32_t const* q) {
    constexpr int words = tiles::rows * tiles::row_bytes / 4;
    tiles::zero<0>();
    tiles::zero<1>();
    for (int w = 0; w < whole_; ++w) {
      if (whole_ > 1) load_whole(w);
      tiles::load<4>(q + w * words, tiles::row_bytes);
      tiles::add_products<0, 2, 4>();
      tiles::add_products<1, 3, 4>();
    }
    tiles::load<5>(q + whole_ * words, tiles::row_bytes);
    tiles::add_products<0, 6, 5>();
    tiles::add_products<1, 7, 5>();
  }

  template <int low, int high>
  void store_sums(int block) {
    tiles::store<low>(sums_[block % places], tiles::row_bytes);
    tiles::store<high>(sums_[block % places] + key_group / 2 * tiles::rows, tiles::row_bytes);
  }

  void store_delayed(int block) {
    if (whole_ > 0) return;
    if (block % 2 == 0) {
      store_sums<0, 1>(block);
    } else {
      store_sums<2, 3>(block);
    }
  }

  /// Adds a block's rows of which something passes to those listed.
  int list(int block, RowKeyPair first, int listed) {
#pragma GCC unroll 2
    for (int r = 0; r < tiles::rows; r += width) {
      Ints const bits = not_negative(sums_[block % places] + r, load(start_[block % places] + r));
      LaneMask const some = equal(bits, Ints{}) ^ all_lanes;
      compress(reinterpret_cast<std::int32_t*>(bits_.data()) + listed, bits, some);
      compress(pairs_.data() + listed, broadcast(first) + load(row_pairs.at + r), some);
      listed += std::popcount(some);
    }
    return listed;
  }

  int whole_;                 ///< pieces of 64 columns before the last
  std::ptrdiff_t key_bytes_;  ///< of a key
  std::ptrdiff_t ahead_;      ///< bytes of a group
  std::uint8_t const* keys_ = nullptr;
  std::vector<std::uint32_t> bits_;  ///< keys of a listed row that pass
  std::vector<RowKeyPair> pairs_;    ///< of that row and the group's first key
  /// Of the blocks under way, which take places in turn.
  alignas(64) std::int32_t start_[places][tiles::rows];
  alignas(64) std::int32_t sums_[places][key_group * tiles::rows];
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
