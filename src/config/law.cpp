#include "config/law.hpp"

#include <muParser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>

#include "config/errors.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

struct Function {
  char const* name;
  double (*value)(double);
};
/// What a law may call. Its reader in Python has the same: IEEE_FUNCTIONS of analysis/asymptop/theory/law_grammar.py.
constexpr Function functions[] = {{"log", [](double x) { return std::log(x); }}, {"sqrt", [](double x) { return std::sqrt(x); }}};

bool is_function(std::string const& name) {
  return std::any_of(std::begin(functions), std::end(functions), [&](Function const& one) { return name == one.name; });
}

std::string grammar() {
  std::string names;
  for (auto const& function : functions) names += function.name + std::string(" ");
  return "one expression in n with + - * / ^ ( ) " + names + "and numbers";
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Where a number that begins at `at` ends: digits with at most one point, and an exponent if it has digits. `at` where there is none.
std::size_t end_of_number(std::string_view text, std::size_t at) {
  auto const digits = [&](std::size_t from) {
    while (from < text.size() && is_digit(text[from])) ++from;
    return from;
  };
  auto end = digits(at);
  bool some = end > at;
  if (end < text.size() && text[end] == '.') {
    auto const point = end;
    end = digits(point + 1);
    some = some || end > point + 1;
  }
  if (!some) return at;
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    auto const sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-') ? end + 2 : end + 1;
    if (digits(sign) > sign) end = digits(sign);
  }
  return end;
}

/// The grammar, once for this program and once for its reader in Python (analysis/asymptop/theory/law_grammar.py): a text is taken by both
/// or by neither. muParser knows more (assignment, lists, comparisons, other functions) and reads numbers with the locale's point.
class GrammarCheck {
 public:
  GrammarCheck(std::string const& option, std::string const& text) : option_(option), text_(text) {}

  void run() {
    if (text_.size() > 256) throw UsageError(option_, text_.substr(0, 40) + "...", "is longer than 256 characters");
    while (at_ < text_.size()) {
      if (std::string_view(" \t\n\v\f\r").find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else if (operand_) {
        take_operand();
      } else {
        take_operator();
      }
    }
    if (operand_ || depth_ > 0) fail("ends too early");
  }

 private:
  void take_operand() {
    char const c = text_[at_];
    bool const signed_already = sign_;
    sign_ = false;
    if ((c == '+' || c == '-') && !signed_already) {
      sign_ = true;
      ++at_;
    } else if (c == '(') {
      open();
    } else if (is_letter(c)) {
      take_name();
    } else if (auto const end = end_of_number(text_, at_); end > at_) {
      auto const digits = text_.substr(at_, end - at_);
      if (!decimal_number(digits)) throw UsageError(option_, text_, "has the number " + digits + ", which a double does not hold");
      at_ = end;
      operand_ = false;
    } else {
      refuse_character();
    }
  }

  void take_name() {
    auto const from = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '_')) ++at_;
    auto const name = text_.substr(from, at_ - from);
    if (name == "n") {
      operand_ = false;
    } else if (!is_function(name)) {
      throw UsageError(option_, text_, "has the unknown name '" + name + "'; a law is " + grammar());
    } else if (at_ == text_.size() || text_[at_] != '(') {
      fail("has " + name + " without (");
    } else {
      open();
    }
  }

  void take_operator() {
    char const c = text_[at_];
    if (c == ')' && depth_ > 0) {
      --depth_;
    } else if (c == '+' || c == '-' || c == '*' || c == '/' || c == '^') {
      operand_ = true;
    } else {
      refuse_character();
    }
    ++at_;
  }

  void open() {
    if (++depth_ > 50) throw UsageError(option_, text_, "nests parentheses more than 50 deep");
    ++at_;
  }

  void refuse_character() {
    unsigned char const c = text_[at_];
    if (c >= 128 || c < 32) fail("has a character that is not plain text");
    fail("has '" + text_.substr(at_, 1) + "' where " + (operand_ ? "a number, n or ( is wanted" : "an operator is wanted"));
  }

  [[noreturn]] void fail(std::string const& what) const { throw UsageError(option_, text_, what + "; a law is " + grammar()); }

  std::string const& option_;
  std::string const& text_;
  std::size_t at_ = 0;
  bool operand_ = true;  ///< what comes next: a value, else an operator
  bool sign_ = false;    ///< a sign was taken just before
  int depth_ = 0;
};

int read_number(char const* text, int* position, double* value) {
  auto const end = end_of_number(text, 0);
  if (end == 0) return 0;
  *value = decimal_number(std::string_view(text, end)).value();
  *position += checked_int(end);
  return 1;
}

double evaluate(std::string const& option, std::string const& text, double n) {
  try {
    mu::Parser parser;
    parser.EnableOptimizer(false);  // x^3 is pow(x, 3), not x*x*x: the same digits as in Python
    parser.ClearFun();
    parser.ClearConst();
    parser.AddValIdent(read_number);
    for (auto const& function : functions) parser.DefineFun(function.name, function.value);
    parser.DefineVar("n", &n);
    parser.SetExpr(text);
    return parser.Eval();
  } catch (mu::ParserError const& error) {
    throw UsageError(option, text, "does not parse (" + error.GetMsg() + "); a law is " + grammar());
  }
}

}  // namespace

std::optional<double> decimal_number(std::string_view text) {
  if (text.empty() || end_of_number(text, 0) != text.size()) return std::nullopt;
  double value = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  auto const exponent = std::min(text.find_first_of("eE"), text.size());
  bool const is_zero = text.substr(0, exponent).find_first_of("123456789") == std::string_view::npos;
  if (!std::isfinite(value) || (value == 0.0 && !is_zero)) return std::nullopt;
  return value;
}

namespace {

/// In digits alone where they are few, as most people write it.
std::string spelt_number(double value) {
  char text[400];
  constexpr std::ptrdiff_t few = 17;
  auto* end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr;
  if (end - text > few) end = std::to_chars(text, text + sizeof text, value).ptr;
  return std::string(text, end);
}

}  // namespace

std::string one_spelling(std::string_view law) {
  std::string spelt;
  for (std::size_t at = 0, next = 0; at < law.size(); at = next) {
    next = end_of_number(law, at);
    auto const number = next > at ? decimal_number(law.substr(at, next - at)) : std::nullopt;
    next = std::max(next, at + 1);
    while (is_letter(law[at]) && next < law.size() && (is_letter(law[next]) || is_digit(law[next]) || law[next] == '_')) ++next;
    if (unsigned char const first = law[at]; std::isspace(first) != 0) continue;
    spelt += number ? spelt_number(*number) : std::string(law.substr(at, next - at));
  }
  return spelt;
}

Law::Law(std::string const& option, std::string const& text) : option_(option), text_(text) {
  GrammarCheck(option_, text_).run();
  evaluate(option_, text_, 1024.0);
}

std::string Law::word_of(std::string const& text) {
  std::string word;
  for (char const c : one_spelling(text)) {
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
  for (unsigned char const c : word) hash = (hash ^ c) * 0x100000001b3u;
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
  double const all = static_cast<double>(n);
  if (value >= all + 0.5) return {n, value > all};
  return {std::llround(value), false};
}

std::string joined(std::vector<std::string> const& texts) {
  std::string all;
  for (auto const& text : texts) all += (all.empty() ? "" : ", ") + text;
  return all;
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

void check_thousands(std::string const& option, std::string const& list, std::vector<std::string> const& items) {
  auto const digits = [](std::string const& item) { return item.find_first_not_of("0123456789") == std::string::npos; };
  for (std::size_t i = 1; i < items.size(); ++i) {
    auto const &before = items[i - 1], &item = items[i];
    if (digits(item) && item.size() == 3 && item.front() == '0' && digits(before) && before.size() <= 3 && before.front() != '0')
      throw UsageError(
          option, list,
          "is a list, of " + before + " and " + item + " too; thousands are set apart by _ or not at all, as " + before + "_" + item);
  }
}

std::vector<Law> parse_laws(std::string const& option, std::string const& list) {
  std::vector<Law> laws;
  auto const items = split_list(option, list);
  check_thousands(option, list, items);
  for (auto const& item : items) {
    for (auto const& law : laws) {
      if (one_spelling(law.text()) == one_spelling(item)) throw UsageError(option, list, "names '" + item + "' twice");
    }
    laws.emplace_back(option, item);
  }
  return laws;
}

}  // namespace asymptop
