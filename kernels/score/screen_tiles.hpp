// The screen of screen_panel.hpp by products of tiles: a group of 32 keys in 8 bits against 16 rows of queries.
//
// Keys are a tile's rows and queries its columns: all sums of a query then lie in one lane, and one line of 16 numbers, added to each key's
// sums, makes their signs tell which keys pass. (Tiles that start at that line would spare the addition, but a tile is not loaded before
// every older store has left the core, those of the block before among them.)
#pragma once

#include <array>
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

/// The sums of four keys, [4][16 rows]: which are not negative with their row's start added, a bit each, in the order of sum_pairs.
ASYMPTOP_SIMD_INLINE std::uint64_t not_negative_of_four(std::int32_t const* sums, std::int32_t const* start) {
#if defined(ASYMPTOP_SIMD_AVX512)
  // Narrowed to bytes, which keeps signs: quads of rows of the four keys take turns.
  auto const at = [=](int key) { return reinterpret_cast<__m512i>(load(sums + key * tiles::rows) + load(start)); };
  return ~_mm512_movepi8_mask(_mm512_packs_epi16(_mm512_packs_epi32(at(0), at(1)), _mm512_packs_epi32(at(2), at(3))));
#else
  std::uint64_t bits = 0;
  for (int i = 0; i < 4 * tiles::rows; i += width)
    bits |= std::uint64_t{negative(load(sums + i) + load(start + i % tiles::rows)) ^ all_lanes} << i;
  return bits;
#endif
}

/// What a bit of not_negative_of_four adds to the pair of the block's first row and the first of the four keys; 64, for no bit: nothing.
inline constexpr auto sum_pairs = [] {
  std::array<RowKeyPair, 65> pairs{};
  for (int bit = 0; bit < 64; ++bit) {
#if defined(ASYMPTOP_SIMD_AVX512)
    int const row = bit / 16 * 4 + bit % 4, key = bit / 4 % 4;
#else
    int const row = bit % 16, key = bit / 16;
#endif
    pairs[bit] = row * key_group + key;
  }
  return pairs;
}();

/// Screens blocks of rows against one group after another. A thread has one at a time, which has its tile registers.
class TileScreen {
 public:
  /// steps: fours of columns.
  explicit TileScreen(int steps) : whole_((steps - 1) / tiles::rows), key_bytes_(4 * steps), ahead_(std::ptrdiff_t{steps} * 4 * key_group) {
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

  /// The group that the next blocks meet; bytes as QuantisedKeys's, by_keys.
  void take_group(std::uint8_t const* keys) {
    keys_ = keys;
    // The next group's bytes are asked for meanwhile.
    for (std::ptrdiff_t line = 0; line < ahead_; line += 64) __builtin_prefetch(keys + ahead_ + line, 0, 3);
    tiles::load<6>(keys + whole_ * tiles::row_bytes, key_bytes_);
    tiles::load<7>(keys + whole_ * tiles::row_bytes + upper(), key_bytes_);
    if (whole_ == 1) load_whole(0);
  }

  /// Where the sums of the next block start, 16 of them (start_sums of screen_panel.hpp).
  std::int32_t* start() { return start_[next_]; }

  /// Multiplies a block and writes the pairs of an earlier one, since take_group, whose sums are not negative, as screen_tile() does.
  /// Returns where the next one goes; what the last blocks brought comes with finish().
  RowKeyPair* screen(TileRows const& block, RowKeyPair* passed) {
    if (whole_ > 0) {
      multiply_pieces(block.q);
    } else if (next_ % 2 == 0) {
      multiply<0, 1, 4>(block.q);
    } else {
      multiply<2, 3, 5>(block.q);
    }
    first_row_[next_] = block.first_row;
    next_ = (next_ + 1) % places;
    return ++pending_ == places ? collect(passed) : passed;
  }
  RowKeyPair* finish(RowKeyPair* passed) {
    while (pending_ > 0) passed = collect(passed);
    return passed;
  }

 private:
  /// Products take their time, and so do stores of tiles: the sums that are looked at are a few blocks old.
  static constexpr int places = 4;

  std::ptrdiff_t upper() const { return std::ptrdiff_t{key_group / 2} * key_bytes_; }

  void load_whole(int w) const {
    tiles::load<2>(keys_ + w * tiles::row_bytes, key_bytes_);
    tiles::load<3>(keys_ + w * tiles::row_bytes + upper(), key_bytes_);
  }

  template <int low, int high>
  void store_sums() {
    tiles::store<low>(sums_[next_], tiles::row_bytes);
    tiles::store<high>(sums_[next_] + key_group / 2 * tiles::rows, tiles::row_bytes);
  }

  /// Keys of one piece: two sets of registers take turns, so that one block's sums are stored while the next one's are made.
  template <int low, int high, int queries>
  void multiply(std::int32_t const* q) {
    tiles::load<queries>(q, tiles::row_bytes);
    tiles::zero<low>();
    tiles::zero<high>();
    tiles::add_products<low, 6, queries>();
    tiles::add_products<high, 7, queries>();
    store_sums<low, high>();
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
    store_sums<0, 1>();
  }

  /// The pairs of the oldest block.
  RowKeyPair* collect(RowKeyPair* passed) {
    int const at = (next_ + places - pending_--) % places;
    constexpr int fours = key_group / 4;
    std::uint64_t bits[fours], some = 0;
#pragma GCC unroll 8
    for (int f = 0; f < fours; ++f) some |= bits[f] = not_negative_of_four(sums_[at] + f * 4 * tiles::rows, start_[at]);
    if (some == 0) return passed;
    RowKeyPair const first = first_row_[at] * key_group;
#pragma GCC unroll 8
    for (int f = 0; f < fours; ++f) {
      RowKeyPair const base = first + 4 * f;
      // Two are written in any case: whether there are any is hard to predict, more are rare.
      std::uint64_t const rest = bits[f] & (bits[f] - 1);
      passed[0] = base + sum_pairs[std::countr_zero(bits[f])];
      passed[1] = base + sum_pairs[std::countr_zero(rest)];
      int const count = std::popcount(bits[f]);
      if (count > 2) [[unlikely]] {
        int to = 2;
        for (std::uint64_t more = rest & (rest - 1); more != 0; more &= more - 1) passed[to++] = base + sum_pairs[std::countr_zero(more)];
      }
      passed += count;
    }
    return passed;
  }

  int whole_;                 ///< pieces of 64 columns before the last
  std::ptrdiff_t key_bytes_;  ///< of a key
  std::ptrdiff_t ahead_;      ///< bytes of a group
  std::uint8_t const* keys_ = nullptr;
  int next_ = 0;     ///< of the places below, which blocks take in turn
  int pending_ = 0;  ///< places that hold sums
  int first_row_[places] = {};
  alignas(64) std::int32_t start_[places][tiles::rows];
  alignas(64) std::int32_t sums_[places][key_group * tiles::rows];
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
