// Counts between the types that they are held in: lists' sizes as the ints that loops run over, and counts among fp64 numbers.
#pragma once

#include <cassert>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace asymptop {

/// A number as an int, cut off to a whole one. Throws std::length_error where it is beyond an int, or NaN.
template <class Number>
int checked_int(Number number) {
  bool fits;
  if constexpr (std::is_integral_v<Number>) {
    fits = std::in_range<int>(number);
  } else {
    fits = number > -0x1p31 - 1.0 && number < 0x1p31;
  }
  if (!fits) throw std::length_error(std::to_string(number) + " does not fit into 32 bits");
  return static_cast<int>(number);
}

/// Elements of a list. Throws std::length_error from 2^31 on.
template <class List>
int int_size(List const& list) {
  return checked_int(std::ssize(list));
}

/// A count that goes into fp64 arithmetic as it is: at most 2^53, so that no bit of it is lost.
inline double exact_double(std::int64_t count) {
  assert(-(std::int64_t{1} << 53) <= count && count <= std::int64_t{1} << 53);
  return static_cast<double>(count);
}

}  // namespace asymptop
