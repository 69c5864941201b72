#include "config/number_text.hpp"

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

}  // namespace asymptop
