#include "config/number_text.hpp"

#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace asymptop {

std::string formatted(char const* format, ...) {
  std::va_list values, again;
  va_start(values, format);
  va_copy(again, values);
  std::string text(std::vsnprintf(nullptr, 0, format, values), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  va_end(values);
  return text;
}

std::string count_or(double value, int digits) {
  constexpr double all_whole_numbers = 0x1p53;
  bool const whole = std::fabs(value) < all_whole_numbers && std::trunc(value) == value;
  return whole ? formatted("%.0f", value + 0.0) : formatted("%.*g", digits, value);
}

}  // namespace asymptop
