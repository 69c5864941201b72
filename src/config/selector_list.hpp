// `--selectors`: which keys are kept, as NAME[:KEY=VALUE]..., e.g. score,quest:page=16,quantised:fp8.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace asymptop {

class Selector;
struct SelectorKind;
enum class KeptSets;

struct SelectorChoice {
  std::string text = "score";                                ///< as given, without blanks
  SelectorKind const* kind = nullptr;                        ///< null for the oracle, by score
  std::map<std::string, std::string, std::less<>> values{};  ///< all parameters
  bool is_oracle() const { return kind == nullptr; }
  KeptSets sets() const;
  /// As part of a file's name: the same for all texts that mean the same.
  std::string word() const;
  bool operator==(SelectorChoice const& other) const { return kind == other.kind && values == other.values; }
};

/// Comma-separated selectors, each once. Throws UsageError.
std::vector<SelectorChoice> parse_selectors(std::string const& option, std::string const& list);

/// Has the queries that share a key head choose together: `share=group` for all selectors but score and window. Throws UsageError for one
/// that each query head goes by itself in, and for two that become the same.
void share_selection(std::vector<SelectorChoice>& choices);

/// Not of the oracle. Throws UsageError for a value that head dimension d does not allow.
std::unique_ptr<Selector> make_selector(SelectorChoice const& choice, int d);

/// What `--help-selector NAME` prints; `all`: a line for each. Throws UsageError for a name that none has.
std::string selector_help(std::string const& option, std::string const& name);

}  // namespace asymptop
