// Keys at random, without replacement: a permutation of the row's keys that depends on the row alone. On average a budget k drops the
// mass 1 - k / n, whatever the input, where no key is forced.
#pragma once

#include <array>
#include <bit>

#include "../core/counts.hpp"
#include "../core/math.hpp"
#include "../core/simd.hpp"
#include "selector.hpp"

namespace asymptop {

/// A permutation of 0 .. size - 1, one place at a time: a Feistel network over the next power of two, walked until it comes back into
/// range (Black and Rogaway, CT-RSA 2002). Halves take turns, so they need not be of one length.
class Permutation {
 public:
  Permutation(std::uint64_t name, std::int64_t size) : size_(size), bits_(std::max(2, checked_int(std::bit_width(size_ - 1)))) {
    for (auto& key : keys_) {
      name += 0x9e3779b97f4a7c15ull;
      key = high_word(mixed(name));
    }
  }

  std::int64_t operator()(std::int64_t place) const {
    std::uint64_t at = place;
    do {
      auto high = high_of(at), low = low_of(at);
      for (std::size_t round = 0; round < keys_.size(); round += 2) {
        high ^= of_round(low, keys_[round]) & high_mask();
        low ^= of_round(high, keys_[round + 1]) & low_mask();
      }
      at = joined<std::uint64_t>(high, low);
    } while (at >= size_);
    return at;
  }

  /// The place where an element stands.
  std::int64_t place_of(std::int64_t element) const {
    auto at = back<std::uint64_t>(element);
    while (at >= size_) at = back(at);
    return at;
  }

  /// Of elements first, first + 1, ... of at most 2^32.
  void places(std::int64_t first, int count, std::uint32_t* out) const {
    auto const self = *this;  // in registers
    auto const begin = low_word(first);
    constexpr int together = chains * simd::width;
    int at = 0;
    for (; at + together <= count; at += together) self.back_together(begin + at, out + at);
    for (; at < count; ++at) out[at] = self.back(begin + at);
    for (int i = 0; i < count; ++i) {
      if (out[i] >= size_) out[i] = low_word(place_of(first + i));
    }
  }

 private:
  /// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
  static std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }

  using Words [[gnu::vector_size(4 * simd::width), gnu::may_alias]] = std::uint32_t;
  /// Vectors that take turns: multiplications of one wait for one another.
  static constexpr int chains = 4;

  /// The 32-bit finaliser of MurmurHash3 (Appleby).
  template <class Word>
  ASYMPTOP_SIMD_INLINE static Word of_round(Word half, std::uint32_t key) {
    Word x = half * 0x9e3779b9u + key;
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return x ^ (x >> 16);
  }

  KOKKOS_FORCEINLINE_FUNCTION int low_bits() const { return bits_ / 2; }
  KOKKOS_FORCEINLINE_FUNCTION std::uint32_t low_mask() const { return (1u << low_bits()) - 1u; }
  KOKKOS_FORCEINLINE_FUNCTION std::uint32_t high_mask() const { return (1u << (bits_ - low_bits())) - 1u; }
  KOKKOS_FORCEINLINE_FUNCTION std::uint32_t low_of(std::uint64_t x) const { return low_word(x) & low_mask(); }
  KOKKOS_FORCEINLINE_FUNCTION std::uint32_t high_of(std::uint64_t x) const { return low_word(x >> low_bits()); }
  template <class Place>
  KOKKOS_FORCEINLINE_FUNCTION Place joined(std::uint32_t high, std::uint32_t low) const {
    return Place{high} << low_bits() | low;
  }

  /// The network backwards. Place: of at least as many bits as a place has.
  template <class Place>
  KOKKOS_FORCEINLINE_FUNCTION Place back(Place at) const {
    auto high = high_of(at), low = low_of(at);
    low ^= of_round(high, keys_[5]) & low_mask();
    high ^= of_round(low, keys_[4]) & high_mask();
    low ^= of_round(high, keys_[3]) & low_mask();
    high ^= of_round(low, keys_[2]) & high_mask();
    low ^= of_round(high, keys_[1]) & low_mask();
    high ^= of_round(low, keys_[0]) & high_mask();
    return joined<Place>(high, low);
  }

  /// Of chains * simd::width elements from `first` on.
  void back_together(std::uint32_t first, std::uint32_t* out) const {
    Words lane, high[chains], low[chains];
    for (int l = 0; l < simd::width; ++l) lane[l] = l;
    for (int c = 0; c < chains; ++c) {
      Words const at = lane + (first + c * simd::width);
      high[c] = at >> low_bits();
      low[c] = at & low_mask();
    }
    for (std::size_t round = keys_.size(); round > 0; round -= 2) {
      for (int c = 0; c < chains; ++c) low[c] ^= of_round(high[c], keys_[round - 1]) & low_mask();
      for (int c = 0; c < chains; ++c) high[c] ^= of_round(low[c], keys_[round - 2]) & high_mask();
    }
    for (int c = 0; c < chains; ++c) {
      Words const at = high[c] << low_bits() | low[c];
      std::memcpy(out + c * simd::width, &at, sizeof at);
    }
  }

  std::uint64_t size_;
  int bits_;  ///< of a place: 62 at most
  std::array<std::uint32_t, 6> keys_{};
};

class RandomSelector final : public Selector {
 public:
  explicit RandomSelector(ForcedKeys const& forced = {}) : forced_(forced) {}
  ForcedKeys forced() const override { return forced_; }
  /// Forced keys, the first ones forwards and the recent ones backwards, then the permutation without them.
  std::vector<GlobalIndex> order(RowOfKeys const& row, std::int64_t wanted) const override {
    std::size_t const count = std::min(wanted, row.seen.size());
    std::vector<GlobalIndex> keys;
    for (auto key = row.seen.begin; key < forced_.first_end(row.seen) && keys.size() < count; ++key) keys.push_back(key);
    for (auto key = row.seen.end; key-- > forced_.recent_begin(row.seen) && keys.size() < count;) keys.push_back(key);
    Permutation const key_at(row.name, row.seen.size());
    for (std::int64_t place = 0; keys.size() < count; ++place) {
      auto const key = row.seen.begin + key_at(place);
      if (!forced_.holds(key, row.seen)) keys.push_back(key);
    }
    return keys;
  }
  /// Of forced keys they say nothing.
  void places(RowOfKeys const& row, std::int64_t first, int count, std::uint32_t* out) const override {
    Permutation(row.name, row.seen.size()).places(first - row.seen.begin, count, out);
  }

 private:
  ForcedKeys forced_;
};

}  // namespace asymptop
