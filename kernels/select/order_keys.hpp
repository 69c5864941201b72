// Where entries stand in an order, as 32-bit whole numbers that ascend along it: made of priorities or of places, counted on either side of
// a stretch of the order, and found inside of it. Sums are of whole numbers: the same in any order and at any vector width.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "../core/counts.hpp"
#include "../core/simd.hpp"

namespace asymptop {

using OrderKey = std::int32_t;

/// Largest priorities first; 0 and -0 are equal. All of them come behind first_key_of_priorities.
constexpr OrderKey key_of_priority(float priority) {
  auto const bits = std::bit_cast<std::int32_t>(priority + 0.0f);
  return ~(bits ^ (bits >> 31 & std::numeric_limits<std::int32_t>::max()));
}
constexpr float priority_of_key(OrderKey key) {
  auto const bits = ~key;
  return std::bit_cast<float>(bits ^ (bits >> 31 & std::numeric_limits<std::int32_t>::max()));
}
inline constexpr OrderKey first_key_of_priorities = key_of_priority(std::numeric_limits<float>::infinity());

/// Keys ahead of all others, for entries that are forced.
inline constexpr std::int64_t most_ahead = 2 * 4000000;
constexpr OrderKey key_ahead(std::int64_t place) { return static_cast<OrderKey>(std::numeric_limits<OrderKey>::min() + place); }
static_assert(key_ahead(most_ahead) < first_key_of_priorities);

/// place: from 0 to most_places - 1.
inline constexpr std::int64_t most_places = (std::int64_t{1} << 32) - most_ahead;
inline constexpr OrderKey first_key_of_places = key_ahead(most_ahead);
constexpr OrderKey key_of_place(std::int64_t place) { return static_cast<OrderKey>(first_key_of_places + place); }
constexpr std::int64_t place_of_key(OrderKey key) { return std::int64_t{key} - first_key_of_places; }

/// Where an entry stands, ascending along the order: minus its priority, or its place. Forced ones are far ahead.
inline double standing_of(OrderKey key, bool places) {
  if (key < (places ? first_key_of_places : first_key_of_priorities)) return -1e300;
  return places ? exact_double(place_of_key(key)) : -double{priority_of_key(key)};
}

/// About a stretch of the order, low <= key <= high.
struct StretchSums {
  std::int64_t before = 0;  ///< entries ahead of it
  std::int64_t behind = 0;  ///< mass behind it
};

namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Half as many lanes as Ints has, of twice the size: one register.
using Longs [[gnu::vector_size(4 * width), gnu::may_alias]] = std::int64_t;
using HalfInts [[gnu::vector_size(2 * width), gnu::may_alias]] = std::int32_t;
inline constexpr int half_width = width / 2;

using HalfFloats [[gnu::vector_size(2 * width), gnu::may_alias]] = float;
using Doubles [[gnu::vector_size(4 * width), gnu::may_alias]] = double;

template <class Vector, class Element>
ASYMPTOP_SIMD_INLINE Vector load_as(Element const* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

ASYMPTOP_SIMD_INLINE std::int64_t sum_of(Longs v) {
  std::int64_t sum = 0;
  for (int l = 0; l < half_width; ++l) sum += v[l];
  return sum;
}

inline void keys_of_priorities(float const* priority, std::int64_t count, OrderKey* out) {
  std::int64_t at = 0;
  for (; at + width <= count; at += width) {
    auto const bits = bits_of(load(priority + at) + broadcast(0.0f));
    store(out + at, ~(bits ^ (bits >> 31 & broadcast(std::numeric_limits<std::int32_t>::max()))));
  }
  for (; at < count; ++at) out[at] = key_of_priority(priority[at]);
}

inline void keys_of_places(std::uint32_t const* place, std::int64_t count, OrderKey* out) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) out[i] = place[i] + first_key_of_places;
}

/// min(max((x - low) per_unit, 0), last), truncated, x being where each entry stands; forced entries are in bin 0.
inline void bins_of_keys(OrderKey const* key, std::int64_t count, bool places, double low, double per_unit, int last, int* bin) {
  auto const first = places ? first_key_of_places : first_key_of_priorities;
  double const most = last;
  std::int64_t at = 0;
  for (; at + half_width <= count; at += half_width) {
    auto const keys = load_as<HalfInts>(key + at);
    Doubles x;
    if (places) {
      x = __builtin_convertvector(__builtin_convertvector(keys, Longs) - std::int64_t{first}, Doubles);
    } else {
      auto const bits = ~keys;
      x = -__builtin_convertvector(
          reinterpret_cast<HalfFloats>(bits ^ (bits >> 31 & (HalfInts{} + std::numeric_limits<std::int32_t>::max()))), Doubles);
    }
    auto const place = (x - low) * per_unit, positive = place < 0.0 ? Doubles{} : place;
    auto const bins = __builtin_convertvector(positive > most ? Doubles{} + most : positive, HalfInts);
    auto const unforced = bins & ~(keys < first);
    std::memcpy(bin + at, &unforced, sizeof unforced);
  }
  for (; at < count; ++at) {
    double const place = (standing_of(key[at], places) - low) * per_unit;
    bin[at] = static_cast<int>(place < 0.0 ? 0.0 : place > most ? most : place);
  }
}

/// Sums of the masses of whole pages, and of a last one that has fewer keys.
inline void masses_of_pages(std::int64_t const* mass, std::int64_t keys, std::int64_t page, std::int64_t* out) {
  for (std::int64_t begin = 0; begin < keys; begin += page) {
    auto const end = begin + page < keys ? begin + page : keys;
    Longs sums{};
    std::int64_t at = begin, rest = 0;
    for (; at + half_width <= end; at += half_width) sums += load_as<Longs>(mass + at);
    for (; at < end; ++at) rest += mass[at];
    *out++ = sum_of(sums) + rest;
  }
}

/// Largest score of each page, the last of which may have fewer keys, as keys of the order.
inline void keys_of_largest(float const* score, std::int64_t keys, std::int64_t page, OrderKey* out) {
  for (std::int64_t begin = 0; begin < keys; begin += page) {
    auto const end = begin + page < keys ? begin + page : keys;
    float largest = score[begin];
    std::int64_t at = begin;
    if (end - begin >= width) {
      Floats all = load(score + begin);
      for (at += width; at + width <= end; at += width) {
        Floats const more = load(score + at);
        all = all > more ? all : more;
      }
      for (int l = 0; l < width; ++l) largest = largest > all[l] ? largest : all[l];
    }
    for (; at < end; ++at) largest = largest > score[at] ? largest : score[at];
    *out++ = key_of_priority(largest);
  }
}

/// sum + x in some lanes.
ASYMPTOP_SIMD_INLINE Longs add_where(Longs sum, LaneMask lanes, Longs x) {
#if defined(ASYMPTOP_SIMD_AVX512)
  return reinterpret_cast<Longs>(_mm512_mask_add_epi64(reinterpret_cast<__m512i>(sum), static_cast<__mmask8>(lanes),
                                                       reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x)));
#else
  Longs bit;
  for (int l = 0; l < half_width; ++l) bit[l] = std::int64_t{1} << l;
  return sum + (x & ((bit & std::int64_t{lanes}) != 0));
#endif
}

/// Calls visit(at) for each entry of `masks`, one for each vector of entries from `begin` on, in order.
template <class Visit>
void visit_lanes(std::int64_t begin, LaneMask const* masks, int vectors, Visit const& visit) {
  for (int v = 0; v < vectors; ++v) {
    for (auto lanes = masks[v]; lanes != 0; lanes &= lanes - 1) visit(begin + v * width + std::countr_zero(lanes));
  }
}

/// Of two stretches at once, low[i] <= key <= high[i]; visit(i, at) is called for the entries inside of each, in order.
template <class Visit>
std::array<StretchSums, 2> sums_around(OrderKey const* key, std::int64_t const* mass, std::int64_t count, std::array<OrderKey, 2> low,
                                       std::array<OrderKey, 2> high, Visit const& visit) {
  std::array<StretchSums, 2> sums;
  // By name rather than as arrays, which would lie in memory.
  std::int64_t before0 = 0, before1 = 0;
  Longs behind0{}, behind1{};
  Ints const low0 = broadcast(low[0]), low1 = broadcast(low[1]), high0 = broadcast(high[0]), high1 = broadcast(high[1]);
  // Visits stand apart from the sums: beside a call none of them would stay in a register.
  constexpr int together = 64;
  std::array<LaneMask, together> inside0, inside1;
  std::int64_t at = 0;
  while (at + width <= count) {
    auto const begin = at;
    LaneMask some0 = 0, some1 = 0;
    int vectors = 0;
    for (; vectors < together && at + width <= count; ++vectors, at += width) {
      auto const keys = load(key + at);
      auto const first = load_as<Longs>(mass + at), second = load_as<Longs>(mass + at + half_width);
      auto const ahead0 = below(keys, low0), ahead1 = below(keys, low1), after0 = below(high0, keys), after1 = below(high1, keys);
      before0 += std::popcount(ahead0);
      before1 += std::popcount(ahead1);
      behind0 = add_where(add_where(behind0, after0, first), after0 >> half_width, second);
      behind1 = add_where(add_where(behind1, after1, first), after1 >> half_width, second);
      some0 |= inside0[vectors] = all_lanes & ~(ahead0 | after0);
      some1 |= inside1[vectors] = all_lanes & ~(ahead1 | after1);
    }
    if (some0 != 0) visit_lanes(begin, inside0.data(), vectors, [&](std::int64_t entry) { visit(0, entry); });
    if (some1 != 0) visit_lanes(begin, inside1.data(), vectors, [&](std::int64_t entry) { visit(1, entry); });
  }
  sums[0] = {before0, sum_of(behind0)};
  sums[1] = {before1, sum_of(behind1)};
  for (; at < count; ++at) {
    for (std::size_t i = 0; i < 2; ++i) {
      bool const ahead = key[at]<low[i], after = key[at]> high[i];
      sums[i].before += ahead ? 1 : 0;
      sums[i].behind += after ? mass[at] : 0;
      if (!ahead && !after) visit(static_cast<int>(i), at);
    }
  }
  return sums;
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
