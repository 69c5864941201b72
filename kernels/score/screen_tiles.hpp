// The screen of screen_panel.hpp by products of tiles: a group of 32 keys in 8 bits against 16 rows of queries.
//
// Keys are a tile's rows and queries its columns: all sums of a query then lie in one lane, and one line of 16 numbers, added to each key's
// sums, makes their signs tell which keys pass. (Tiles that start at that line would spare the addition, but a tile is not loaded before
// every older store has left the core, those of the block before among them.)
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

/// A word of 32 of those bits, of the half h of four f at 2 f + h: what it adds to the pair of the block's first row and the group's first
/// key, and what each bit of a word adds to that. 32, for no bit, is a place of its own.
struct SumPairs {
  std::int32_t word[16] = {}, bit[33] = {};

  constexpr SumPairs() {
    for (int bits = 0; bits < 64; ++bits) {
#if defined(ASYMPTOP_SIMD_AVX512)
      int const row = bits / 16 * 4 + bits % 4, key = bits / 4 % 4;
#else
      int const row = bits % 16, key = bits / 16;
#endif
      RowKeyPair const pair = row * key_group + key;
      if (bits < 32) bit[bits] = pair;
      if (bits % 32 != 0) continue;
      for (int four = 0; four < key_group / 4; ++four) word[2 * four + bits / 32] = pair + 4 * four;
    }
  }
};
alignas(64) inline constexpr SumPairs sum_pairs{};

/// Screens blocks of rows against one group after another. A thread has one at a time, which has its tile registers.
///
/// Products take their time, and so do stores of tiles. Several blocks are therefore under way at once: one is multiplied, the sums of the
/// one before are stored, those of an older one are looked at. No branch among these depends on what passes: guessed wrong, it would
/// empty the pipeline of tiles. Words of bits that are not all zero are put in a list, which becomes pairs at the end of the group.
class TileScreen {
 public:
  /// steps: fours of columns; blocks: most of them that are screened at a time.
  TileScreen(int steps, std::size_t blocks)
      : whole_((steps - 1) / tiles::rows),
        key_bytes_(4 * steps),
        ahead_(std::ptrdiff_t{steps} * 4 * key_group),
        words_(blocks * words_of_block + width),
        pairs_(words_.size()) {
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
    for (int b = 0; b < count + lag + 1; ++b) {
      if (b < count) {
        start(b, start_[b % places]);
        multiply(b, blocks[b].q);
      }
      if (b > 0 && b <= count) store_delayed(b - 1);
      if (b >= lag && b < count + lag) find(b - lag);
      if (b > lag) listed = list(b - lag - 1, blocks[b - lag - 1].first_row * key_group, listed);
    }
    for (int i = 0; i < listed; ++i) {
      // Two are written in any case: whether there is a second is hard to predict, more are rare.
      std::uint32_t const bits = words_[i], rest = bits & (bits - 1);
      passed[0] = pairs_[i] + sum_pairs.bit[std::countr_zero(bits)];
      passed[1] = pairs_[i] + sum_pairs.bit[std::countr_zero(rest)];
      passed += rest == 0 ? 1 : 2;
      for (std::uint32_t more = rest & (rest - 1); more != 0; more &= more - 1)
        [[unlikely]]* passed++ = pairs_[i] + sum_pairs.bit[std::countr_zero(more)];
    }
    return passed;
  }

 private:
  /// Sums are looked at so many blocks after they were multiplied, and places are used again later than that.
  static constexpr int lag = 2, places = 4;
  static constexpr int fours = key_group / 4, words_of_block = 2 * fours;

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

  /// The bits of a block's sums.
  void find(int block) {
    auto const* const sums = sums_[block % places];
#pragma GCC unroll 8
    for (int f = 0; f < fours; ++f) bits_[block % places][f] = not_negative_of_four(sums + f * 4 * tiles::rows, start_[block % places]);
  }

  /// Adds its words that are not zero to those listed.
  int list(int block, RowKeyPair first, int listed) {
    std::int32_t words[words_of_block];
    std::memcpy(words, bits_[block % places], sizeof words);
#pragma GCC unroll 2
    for (int i = 0; i < words_of_block; i += width) {
      Ints const some = load(words + i);
      LaneMask const mask = equal(some, Ints{}) ^ all_lanes;
      compress(reinterpret_cast<std::int32_t*>(words_.data()) + listed, some, mask);
      compress(pairs_.data() + listed, broadcast(first) + load(sum_pairs.word + i), mask);
      listed += std::popcount(mask);
    }
    return listed;
  }

  int whole_;                 ///< pieces of 64 columns before the last
  std::ptrdiff_t key_bytes_;  ///< of a key
  std::ptrdiff_t ahead_;      ///< bytes of a group
  std::uint8_t const* keys_ = nullptr;
  std::vector<std::uint32_t> words_;  ///< that are not zero, of the group
  std::vector<RowKeyPair> pairs_;     ///< of their first bits
  /// Of the blocks under way, which take places in turn.
  alignas(64) std::int32_t start_[places][tiles::rows];
  alignas(64) std::int32_t sums_[places][key_group * tiles::rows];
  alignas(64) std::uint64_t bits_[places][fours];
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop::simd
