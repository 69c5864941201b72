// Numbers as texts.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace asymptop {

/// A number at the beginning of a text, and what follows it.
template <class T>
struct LeadingNumber {
  T value;
  std::string_view rest;
};

/// `none` and the whole text where that begins with no number, or with one that T does not hold.
template <class T>
LeadingNumber<T> leading_number(std::string_view text, T none = {}) {
  T value{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return {none, text};
  return {value, text.substr(end - text.data())};
}

/// Of a text that is a number and nothing else.
template <class T>
std::optional<T> number_of(std::string_view text) {
  auto const number = leading_number<T>(text);
  return number.rest.empty() && !text.empty() ? std::optional(number.value) : std::nullopt;
}

/// What printf makes of it.
[[gnu::format(printf, 1, 2)]] std::string formatted(char const* format, ...);

/// The shortest text that reads back to the same number.
inline std::string shortest(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

/// Of any value that a file may hold, for people.
inline std::string shown(std::string const& value) { return value; }
inline std::string shown(std::int64_t value) { return std::to_string(value); }
inline std::string shown(double value) { return shortest(value); }

/// A number that may be a count: a whole one with all its digits, as %.{digits}g has any other.
std::string count_or(double value, int digits);

}  // namespace asymptop
