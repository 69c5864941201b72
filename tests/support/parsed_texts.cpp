// What this program makes of texts: one request a line, the text in hexadecimal, one answer a line. Tests hold other parsers to it.
//   law TEXT N...   the value at each N in hexadecimal floating point, or `no value`; `refused`, one word, where it is no law
//   sizes TEXT MOST the sizes of a list, or `refused`
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "config/law.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace {

std::string from_hex(std::string const& digits) {
  std::string text;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) text += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return text;
}

void answer_law(std::string const& text, std::istringstream& in) {
  Law const law("--k", text);
  std::string answer;
  for (std::int64_t n; in >> n;) {
    try {
      char value[64];
      std::snprintf(value, sizeof value, "%a ", law(n));
      answer += value;
    } catch (UsageError const&) {
      answer += "none ";
    }
  }
  std::cout << answer << "\n";
}

void answer_sizes(std::string const& text, std::istringstream& in) {
  std::int64_t most = 0;
  in >> most;
  std::string answer;
  for (auto const size : parse_sizes("--n", text, most)) answer += std::to_string(size) + " ";
  std::cout << answer << "\n";
}

void answer(std::string const& line) {
  std::istringstream in(line);
  std::string what, digits;
  in >> what >> digits;
  auto const text = from_hex(digits.substr(1));  // after an x, so that an empty text is a word
  try {
    what == "law" ? answer_law(text, in) : answer_sizes(text, in);
  } catch (UsageError const& error) {
    std::cout << "refused " << error.what() << "\n";
  }
}

}  // namespace
}  // namespace asymptop

int main() {
  for (std::string line; std::getline(std::cin, line);) asymptop::answer(line);
}
