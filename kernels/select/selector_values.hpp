// Values of selectors' parameters, as texts have them.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../core/counts.hpp"
#include "approximate_scores.hpp"

namespace asymptop {

/// Texts by key.
using SelectorValues = std::map<std::string, std::string, std::less<>>;

/// d / divisor, or a number by itself. d: 0 where it is not known yet. Throws std::invalid_argument unless it is from 1 to d.
inline int channels_of(std::string const& text, int d) {
  bool const share = text.rfind("d/", 0) == 0;
  char* end = nullptr;
  std::string const number = share ? text.substr(2) : text;
  long const value = text == "d" ? std::max(d, 1) : std::strtol(number.c_str(), &end, 10);
  bool const whole = text == "d" || (!number.empty() && *end == '\0' && number[0] >= '0' && number[0] <= '9');
  if (!whole || value < 1 || (!share && value > 4096)) throw std::invalid_argument("is no number of channels: 1 to d, d/8, d");
  if (!share && d > 0 && value > d) throw std::invalid_argument("is over d = " + std::to_string(d));
  return std::max(1, checked_int(share ? d / value : value));
}

/// Throws std::invalid_argument unless it is a whole number from `low` to `high`.
inline std::int64_t count_of(std::string const& text, std::int64_t low, std::int64_t high) {
  char* end = nullptr;
  long long const value = std::strtoll(text.c_str(), &end, 10);
  bool const whole = !text.empty() && *end == '\0' && text[0] >= '0' && text[0] <= '9';
  if (!whole || value < low || value > high)
    throw std::invalid_argument("is no whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return value;
}

/// A decimal number; NaN for any other text, of which std::strtod takes hexadecimal ones and names.
inline double decimal_of(std::string const& text) {
  char* end = nullptr;
  double const value = std::strtod(text.c_str(), &end);
  bool const whole = !text.empty() && *end == '\0' && text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  return whole ? value : std::numeric_limits<double>::quiet_NaN();
}

/// Throws std::invalid_argument unless it is a number over 0 and at most `high`.
inline double share_of(std::string const& text, double high) {
  double const value = decimal_of(text);
  if (!(value > 0.0 && value <= high)) {
    std::string bound = std::to_string(high);
    throw std::invalid_argument("is no number over 0, at most " + bound.substr(0, bound.find('.') + 2));
  }
  return value;
}

/// Keys of a page, a power of two: pages never cross a block of keys, so no rank holds a part of one.
inline int page_of(std::string const& text) {
  auto const page = count_of(text, 1, 512);
  if ((page & (page - 1)) != 0) throw std::invalid_argument("is no power of two");
  return checked_int(page);
}

/// Throws std::invalid_argument.
inline KeyFormat key_format_of(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, KeyFormat>, 5> formats{{{"fp32", KeyFormat::fp32},
                                                                           {"bf16", KeyFormat::bf16},
                                                                           {"fp8", KeyFormat::fp8},
                                                                           {"int8", KeyFormat::int8},
                                                                           {"int4", KeyFormat::int4}}};
  for (auto const& [name, format] : formats) {
    if (name == text) return format;
  }
  throw std::invalid_argument("is no format: bf16, fp8, int8, int4, fp32");
}

/// Throws std::invalid_argument unless it is of letters, digits, `_` and `-`, which go into names of files as they are.
inline std::string dataset_name(std::string const& text) {
  auto const plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; };
  if (text.empty() || text.size() > 64 || !std::all_of(text.begin(), text.end(), plain))
    throw std::invalid_argument("is no name of datasets: up to 64 letters, digits, _ and -");
  return text;
}

}  // namespace asymptop
