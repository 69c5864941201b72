#include "config/law.hpp"

#include <muParser.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <sstream>

#include "config/errors.hpp"

namespace asymptop {
namespace {

constexpr char const* grammar = "one expression in n with + - * / ^ ( ) log sqrt and numbers";

/// muParser knows more than a law may hold (assignment, lists, comparisons, other functions), so tokens are checked first.
void check_tokens(std::string const& option, std::string const& text) {
  if (text.size() > 256) throw UsageError(option, text.substr(0, 40) + "...", "is longer than 256 characters");
  int depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    auto const c = static_cast<unsigned char>(text[i]);
    if (std::isspace(c) != 0) {
      ++i;
    } else if (std::isalpha(c) != 0) {
      std::size_t end = i;
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) ++end;
      auto const name = text.substr(i, end - i);
      if (name != "n" && name != "log" && name != "sqrt")
        throw UsageError(option, text, "has the unknown name '" + name + "'; a law is " + grammar);
      i = end;
    } else if (std::isdigit(c) != 0 || c == '.') {
      std::size_t end = i;
      while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) != 0 || text[end] == '.')) ++end;
      if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
        std::size_t digits = end + 1;
        if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
        if (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) {
          while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) ++digits;
          end = digits;
        }
      }
      i = end;
    } else if (c != '\0' && std::string("+-*/^()").find(static_cast<char>(c)) != std::string::npos) {
      depth += c == '(' ? 1 : 0;
      if (depth > 50) throw UsageError(option, text, "nests parentheses more than 50 deep");
      ++i;
    } else {
      auto const character =
          c < 128 && c >= 32 ? std::string("the character '") + text[i] + "'" : std::string("a character that is not plain text");
      throw UsageError(option, text, "has " + character + "; a law is " + grammar);
    }
  }
}

double evaluate(std::string const& option, std::string const& text, double n) {
  try {
    mu::Parser parser;
    parser.ClearFun();
    parser.ClearConst();
    parser.DefineFun("log", static_cast<double (*)(double)>(std::log));
    parser.DefineFun("sqrt", static_cast<double (*)(double)>(std::sqrt));
    parser.DefineVar("n", &n);
    parser.SetExpr(text);
    return parser.Eval();
  } catch (mu::ParserError const& error) {
    auto message = error.GetMsg();
    std::replace(message.begin(), message.end(), '\n', ' ');
    throw UsageError(option, text, "does not parse (" + message + "); a law is " + std::string(grammar));
  }
}

}  // namespace

Law::Law(std::string const& option, std::string const& text) : option_(option), text_(text) {
  check_tokens(option_, text_);
  evaluate(option_, text_, 1024.0);
}

std::string Law::word() const {
  std::string word;
  for (char const c : text_) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) continue;
    if (c == '*') {
      word += 'x';
    } else if (c == '/') {
      word += "by";
    } else {
      word += c;
    }
  }
  constexpr std::size_t longest = 80;
  if (word.size() <= longest) return word;
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a, the same everywhere
  for (char const c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::ostringstream cut;
  cut << word.substr(0, longest - 17) << "-" << std::hex << hash;
  return cut.str();
}

double Law::operator()(std::int64_t n) const {
  double const value = evaluate(option_, text_, static_cast<double>(n));
  if (!std::isfinite(value) || value <= 0.0) {
    std::ostringstream shown;
    shown << value;
    throw UsageError(
        option_, text_,
        "gives " + shown.str() + " at n = " + std::to_string(n) + "; a law must be finite and positive for every n of the run");
  }
  return value;
}

RankAt rank_at(Law const& law, std::int64_t n) {
  double const value = law(n);
  if (value < 0.5)
    throw UsageError(law.option(), law.text(),
                     "gives k = " + std::to_string(value) + " at n = " + std::to_string(n) + "; k must be at least 0.5, which rounds to 1");
  // From 2^53 on, n and its neighbours are one double.
  if (value >= static_cast<double>(n) + 0.5) return {n, value > static_cast<double>(n)};
  return {std::llround(value), false};
}

std::vector<std::string> split_list(std::string const& option, std::string const& list) {
  std::vector<std::string> items;
  std::string item;
  std::istringstream in(list + ",");
  while (std::getline(in, item, ',')) {
    auto const first = item.find_first_not_of(" \t"), last = item.find_last_not_of(" \t");
    if (first == std::string::npos) throw UsageError(option, list, "has an empty item; give a comma-separated list");
    items.push_back(item.substr(first, last - first + 1));
  }
  return items;
}

std::vector<Law> parse_laws(std::string const& option, std::string const& list) {
  std::vector<Law> laws;
  for (auto const& item : split_list(option, list)) {
    for (auto const& law : laws) {
      if (law.text() == item) throw UsageError(option, list, "names '" + item + "' twice");
    }
    laws.emplace_back(option, item);
  }
  return laws;
}

}  // namespace asymptop
