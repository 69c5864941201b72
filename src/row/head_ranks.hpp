// Where keys stand in a list of them, such as a row's best ones, asked key by key.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/core/candidate.hpp"

namespace asymptop {

/// A hash table from keys to their places, open addressing at half load: orders ask for as many keys as a head has, under every selector.
/// key_at(place): of fewer than 2^31 keys; what it looks at outlives this.
template <class KeyAt>
class KeyPlaces {
 public:
  static constexpr std::int64_t none = -1;

  KeyPlaces(std::int64_t count, KeyAt const& key_at) : key_at_(key_at) {
    std::size_t const slots = std::bit_ceil<std::uint64_t>(2 * count + 2);
    shift_ = 64 - std::countr_zero(slots);
    slots_.assign(slots, -1);
    for (std::int32_t place = 0; place < count; ++place) {
      auto const key = key_at(place);
      auto at = slot_of(key);
      while (slots_[at] >= 0 && key_at_(slots_[at]) != key) at = next(at);
      if (slots_[at] >= 0) {
        ++repeated_;
      } else {
        slots_[at] = place;
      }
    }
  }

  /// The first of its places, or none.
  std::int64_t operator()(GlobalIndex key) const {
    for (auto at = slot_of(key); slots_[at] >= 0; at = next(at)) {
      if (key_at_(slots_[at]) == key) return slots_[at];
    }
    return none;
  }

  /// Places whose key has an earlier one.
  std::int64_t repeated() const { return repeated_; }

 private:
  /// Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4): neighbours are far apart.
  std::size_t slot_of(std::uint64_t key) const { return key * 0x9e3779b97f4a7c15ull >> shift_; }
  std::size_t next(std::size_t at) const { return (at + 1) & (slots_.size() - 1); }

  KeyAt key_at_;
  std::vector<std::int32_t> slots_;
  int shift_ = 0;
  std::int64_t repeated_ = 0;
};

struct IndexInHead {
  std::vector<Candidate> const* head;
  GlobalIndex operator()(std::size_t rank) const { return (*head)[rank].index; }
};

/// Ranks in a head, counted from 0, the best key.
class HeadRanks : public KeyPlaces<IndexInHead> {
 public:
  explicit HeadRanks(std::vector<Candidate> const& head) : KeyPlaces(head.size(), IndexInHead{&head}) {}
};

}  // namespace asymptop
