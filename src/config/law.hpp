// A law: one expression in n, such as 400, 4*n^0.5, log(n)^2 or 2*sqrt(log(n)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace asymptop {

/// An expression in n with + - * / ^, parentheses, log (natural), sqrt and decimal numbers; nothing else.
class Law {
 public:
  /// Throws UsageError naming `option` when the text is no law.
  Law(std::string const& option, std::string const& text);
  /// The value at n. Throws UsageError unless it is finite and positive.
  double operator()(std::int64_t n) const;
  std::string const& text() const { return text_; }
  /// The text as part of the name of a case, a file and a group: in one spelling, with `x` for *, `by` for /; a long one is cut and hashed.
  std::string word() const { return word_of(text_); }
  /// The same of any expression.
  static std::string word_of(std::string const& text);
  std::string const& option() const { return option_; }

 private:
  std::string option_;
  std::string text_;
};

/// The double of a number as laws have them, in any locale; nothing where the text is none or no double holds it.
std::optional<double> decimal_number(std::string_view text);

/// A law without blanks and with every number in one spelling: 1e-3 and 0.001, 4 * n^.50 and 4*n^0.5 are the same law.
std::string one_spelling(std::string_view law);

/// A k law's k at n: rounded to nearest, clipped to n.
struct RankAt {
  std::int64_t k;
  bool clipped;
};

/// Throws UsageError when the law gives less than 0.5.
RankAt rank_at(Law const& law, std::int64_t n);

/// Comma-separated laws; at least one, none twice in whatever spelling.
std::vector<Law> parse_laws(std::string const& option, std::string const& list);

/// Comma-separated items without surrounding blanks; throws UsageError on an empty item.
std::vector<std::string> split_list(std::string const& option, std::string const& list);

/// `a, b, c`.
std::string joined(std::vector<std::string> const& texts);

/// Throws UsageError where the items look like one number: 1,024 is a list of 1 and 24.
void check_thousands(std::string const& option, std::string const& list, std::vector<std::string> const& items);

}  // namespace asymptop
