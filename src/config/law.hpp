// A law: one expression in n, such as 400, 4*n^0.5, log(n)^2 or 2*sqrt(log(n)).
#pragma once

#include <cstdint>
#include <string>
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
  /// The text as part of the name of a case, a file and a group: without blanks, `x` for *, `by` for /; a long one is cut and hashed.
  std::string word() const;
  std::string const& option() const { return option_; }

 private:
  std::string option_;
  std::string text_;
};

/// A k law's k at n: rounded to nearest, clipped to n.
struct RankAt {
  std::int64_t k;
  bool clipped;
};

/// Throws UsageError when the law gives less than 0.5.
RankAt rank_at(Law const& law, std::int64_t n);

/// Comma-separated laws; at least one, no duplicates.
std::vector<Law> parse_laws(std::string const& option, std::string const& list);

/// Comma-separated items without surrounding blanks; throws UsageError on an empty item.
std::vector<std::string> split_list(std::string const& option, std::string const& list);

}  // namespace asymptop
