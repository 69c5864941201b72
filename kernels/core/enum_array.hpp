// One value for each member of an enumeration, found by the member itself.
#pragma once

#include <array>
#include <cstddef>

namespace asymptop {

/// Enum: members count from 0.
template <class Enum, class T, std::size_t count>
struct EnumArray {
  std::array<T, count> values{};

  constexpr T& operator[](Enum member) { return values[static_cast<std::size_t>(member)]; }
  constexpr T const& operator[](Enum member) const { return values[static_cast<std::size_t>(member)]; }
  constexpr auto begin() { return values.begin(); }
  constexpr auto end() { return values.end(); }
  constexpr auto begin() const { return values.begin(); }
  constexpr auto end() const { return values.end(); }
  static constexpr std::size_t size() { return count; }
};

}  // namespace asymptop
