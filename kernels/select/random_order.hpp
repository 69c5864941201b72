// Keys at random, without replacement: a permutation of the row's keys that depends on the row alone. On average a budget k drops the
// mass 1 - k / n, whatever the input.
#pragma once

#include <bit>

#include "selector.hpp"

namespace asymptop {

/// A permutation of 0 .. size - 1, one place at a time: a Feistel network over the next power of four, walked until it comes back into
/// range (Black and Rogaway, CT-RSA 2002).
class Permutation {
 public:
  Permutation(std::uint64_t name, std::int64_t size)
      : name_(mixed(name + 0x9e3779b97f4a7c15ull)),
        size_(static_cast<std::uint64_t>(size)),
        half_(static_cast<int>(std::bit_width(size_ > 1 ? size_ - 1 : 1) + 1) / 2) {}

  std::int64_t operator()(std::int64_t place) const {
    auto at = static_cast<std::uint64_t>(place);
    do {
      at = network(at);
    } while (at >= size_);
    return static_cast<std::int64_t>(at);
  }

 private:
  /// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
  static std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }

  std::uint64_t network(std::uint64_t x) const {
    constexpr std::uint64_t rounds = 6;
    std::uint64_t const mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = x >> half_, right = x & mask;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      auto const next = left ^ (mixed(name_ + (round << 56) + right) & mask);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }

  std::uint64_t name_, size_;
  int half_;  ///< bits
};

class RandomSelector final : public Selector {
 public:
  std::vector<GlobalIndex> order(RowOfKeys const& row, std::int64_t wanted) const override {
    Permutation const key_at(row.name, row.visible);
    std::vector<GlobalIndex> keys(static_cast<std::size_t>(std::min(wanted, row.visible)));
    for (std::size_t place = 0; place < keys.size(); ++place) keys[place] = key_at(static_cast<std::int64_t>(place));
    return keys;
  }
};

}  // namespace asymptop
