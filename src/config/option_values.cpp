#include "config/option_values.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string_view>

#include "config/law.hpp"
#include "config/number_text.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {
std::int64_t parse_integer(std::string const& option, std::string const& text, std::int64_t low, std::int64_t high) {
  auto const value = number_of<std::int64_t>(text);
  if (!value || *value < low || *value > high)
    throw UsageError(option, text, "is not an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return *value;
}

int threads_of_openmp(char const* text) {
  if (text == nullptr) return 0;
  // A list has a number for each level of nesting; the first is that of the only one here.
  std::string const first = std::string(text).substr(0, std::string(text).find(','));
  auto const begin = first.find_first_not_of(" \t"), end = first.find_last_not_of(" \t");
  if (begin == std::string::npos || first.find_first_not_of("0123456789", begin) <= end) return 0;
  auto const threads = number_of<std::int64_t>(first.substr(begin, end + 1 - begin));
  if (!threads || *threads > most_threads)
    throw UsageError("OMP_NUM_THREADS", text,
                     "is over " + std::to_string(most_threads) + " threads, the most of a rank; --threads overrides it");
  return checked_int(*threads);
}

int parse_groups(std::string const& text) {
  if (text == "auto") return 0;
  auto const groups = number_of<int>(text);
  if (!groups || *groups < 1) throw UsageError("--groups", text, "is neither auto nor a number from 1");
  return *groups;
}

namespace {

/// Digits, with _ between them or not, as an integer of at most `largest`.
std::optional<std::int64_t> whole(std::string_view text, std::int64_t largest) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool const between_digits = i > 0 && i + 1 < text.size() && text[i - 1] != '_';
    if (text[i] == '_' && between_digits) continue;
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    digits += text[i];
  }
  auto const value = number_of<std::int64_t>(digits);
  return value && *value <= largest ? value : std::nullopt;
}

std::optional<std::int64_t> power(std::string_view base_text, std::string_view exponent_text, std::int64_t largest) {
  auto const base = whole(base_text, largest), exponent = whole(exponent_text, 1000);
  if (!base || !exponent || *base < 1) return std::nullopt;
  std::int64_t value = 1;
  for (std::int64_t i = 0; i < *exponent; ++i) {
    if (value > largest / *base) return std::nullopt;
    value *= *base;
  }
  return value;
}

/// 1e6, 1.5e3, 64k (thousands) or 64Ki (1024 each), as long as it is whole.
std::optional<std::int64_t> amount(std::string text, std::int64_t largest) {
  bool const binary = text.size() > 1 && text.back() == 'i';
  if (binary) text.pop_back();
  auto const letter = text.empty() ? std::string::npos : std::string_view(binary ? "KMGT" : "KMGTk").find(text.back());
  bool const scaled = letter != std::string::npos;
  int const steps = scaled ? checked_int(letter % 4) + 1 : 0;
  if (binary && !scaled) return std::nullopt;
  if (scaled) text.pop_back();
  bool const plain = text.find_first_not_of("0123456789.") == std::string::npos;
  if (scaled && !plain) {
    auto const value = whole(text, largest);
    if (!value) return std::nullopt;
    text = std::to_string(*value);
  }
  if (scaled && !binary) text += "e" + std::to_string(3 * steps);
  auto const number = decimal_number(text);
  if (!number) return std::nullopt;
  double const value = std::ldexp(*number, binary ? 10 * steps : 0);
  if (value != std::floor(value) || value > static_cast<double>(largest)) return std::nullopt;
  return std::llround(value);
}

std::string trimmed_part(std::string const& text) {
  auto const first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

std::int64_t parse_size(std::string const& option, std::string const& text, std::int64_t largest) {
  auto const caret = text.find('^'), stars = text.find("**");
  auto const value = caret != std::string::npos   ? power(text.substr(0, caret), text.substr(caret + 1), largest)
                     : stars != std::string::npos ? power(text.substr(0, stars), text.substr(stars + 2), largest)
                     : text.find_first_not_of("0123456789_") == std::string::npos ? whole(text, largest)
                                                                                  : amount(text, largest);
  if (!value || *value < 1)
    throw UsageError(
        option, text,
        "is not a whole number from 1 to " + std::to_string(largest) + ", such as 4096, 2^20, 1e6, 64k (64000) or 64Ki (65536)");
  return *value;
}

std::int64_t parse_block(std::string const& text) {
  auto const block = parse_size("--block", text, 1 << 20);
  if (block < 64 || (block & (block - 1)) != 0) throw UsageError("--block", text, "is not a power of two from 64 to 1048576");
  return block;
}

std::vector<std::int64_t> parse_numbers(std::string const& option, std::string const& list) {
  std::vector<std::int64_t> numbers;
  if (list.empty() || list == "all") return numbers;
  for (auto const& item : split_list(option, list)) {
    auto const number = parse_integer(option, item, 0, 1 << 20);
    auto const what = option.substr(2, option.size() - 3);  // --heads: head
    if (std::find(numbers.begin(), numbers.end(), number) != numbers.end())
      throw UsageError(option, list, "names " + what + " " + item + " twice");
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<std::int64_t> parse_sizes(std::string const& option, std::string const& list, std::int64_t largest) {
  std::vector<std::int64_t> sizes;
  auto const items = split_list(option, list);
  check_thousands(option, list, items);
  for (auto const& item : items) {
    std::vector<std::string> parts;
    std::istringstream in(item);
    for (std::string part; std::getline(in, part, ':');) parts.push_back(trimmed_part(part));
    if (item.empty() || item.back() == ':' || parts.empty() || parts.size() > 3)
      throw UsageError(option, item, "is not N, FIRST:LAST or FIRST:LAST:FACTOR");
    auto const first = parse_size(option, parts[0], largest);
    auto const last = parts.size() > 1 ? parse_size(option, parts[1], largest) : first;
    std::int64_t factor = 2;
    if (parts.size() > 2) {
      factor = number_of<std::int64_t>(parts[2]).value_or(0);
      if (factor < 2 || factor > 1 << 20) throw UsageError(option, item, "has no whole factor from 2 to 1048576");
    }
    if (last < first) throw UsageError(option, item, "has its last before its first");
    if (parts.size() > 2 && last > first && factor > last / first)
      throw UsageError(option, item, "holds its first alone: the third is a factor, not a step");
    for (auto n = first;; n *= factor) {
      sizes.push_back(n);
      if (n > last / factor) break;
    }
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

bool parse_switch(std::string const& option, std::string const& text) {
  if (text != "on" && text != "off") throw UsageError(option, text, "is neither on nor off");
  return text == "on";
}

std::vector<double> parse_epsilons(std::string const& list) {
  std::vector<double> values;
  for (auto const& item : split_list("--epsilon", list)) {
    double const value = number_of<double>(item).value_or(0.0);
    if (!(value > 0.0 && value < 1.0)) throw UsageError("--epsilon", item, "is not a number in (0, 1), such as 0.1 for 10%");
    if (std::find(values.begin(), values.end(), value) != values.end()) throw UsageError("--epsilon", list, "names " + item + " twice");
    values.push_back(value);
  }
  return values;
}

double parse_share(std::string const& option, std::string const& text) {
  auto const number = leading_number<double>(text);
  bool const percent = number.rest == "%";
  double const value = number.value / (percent ? 100.0 : 1.0);
  if (!(value > 0.0 && value < 1.0) || (!percent && !number.rest.empty()))
    throw UsageError(option, text, "is neither a percentage, such as 1%, nor a number between 0 and 1");
  return value;
}

double parse_duration(std::string const& option, std::string const& text) {
  auto const [value, unit] = leading_number<double>(text);
  double const seconds = value * (unit == "h" ? 3600.0 : unit == "m" ? 60.0 : unit.empty() || unit == "s" ? 1.0 : 0.0);
  if (!(seconds > 0.0 && seconds < 1e9)) throw UsageError(option, text, "is no time such as 90s, 30m or 2h");
  return seconds;
}

}  // namespace asymptop
