#include "config/selector_list.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <stdexcept>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "kernels/select/selectors.hpp"

namespace asymptop {
namespace {

std::string all_names() {
  std::string names;
  for (auto const& kind : selector_kinds()) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  return names;
}

SelectorKind const& kind_of(std::string const& option, std::string const& text, std::string const& name) {
  for (auto const& kind : selector_kinds()) {
    if (name == kind.name) return kind;
  }
  throw UsageError(option, text, "names no selector; there are " + all_names());
}

/// `KEY=VALUE`, or a value by itself for a selector's first parameter.
void take_parameter(std::string const& option, std::string const& item, std::string const& part, SelectorChoice& choice,
                    std::set<std::string>& given) {
  auto const equals = part.find('=');
  auto const& parameters = choice.kind->parameters;
  auto const key = equals == std::string::npos && !part.empty() && !parameters.empty() ? parameters.front().key : part.substr(0, equals);
  if (!given.insert(key).second) throw UsageError(option, item, "gives '" + key + "' twice");
  if (equals == std::string::npos && !part.empty() && !parameters.empty()) {
    choice.values[key] = part;
    return;
  }
  auto const known = choice.values.find(part.substr(0, equals));
  if (known != choice.values.end()) {
    known->second = part.substr(equals + 1);
    return;
  }
  std::string keys;
  for (auto const& parameter : parameters) keys += (keys.empty() ? "" : ", ") + std::string(parameter.key);
  throw UsageError(option, item,
                   "gives " + std::string(choice.kind->name) + " a parameter '" + part.substr(0, equals) + "'; " +
                       (keys.empty() ? "it takes none" : "it takes " + keys));
}

SelectorChoice parse_selector(std::string const& option, std::string const& item) {
  SelectorChoice choice;
  choice.text.clear();
  for (unsigned char const c : item) choice.text += std::isspace(c) != 0 ? "" : std::string(1, c);
  auto end = choice.text.find(':');
  choice.kind = &kind_of(option, item, choice.text.substr(0, end));
  for (auto const& parameter : choice.kind->parameters) choice.values[parameter.key] = parameter.fallback;
  std::set<std::string> given;
  while (end != std::string::npos) {
    auto const begin = end + 1;
    end = choice.text.find(':', begin);
    take_parameter(option, item, choice.text.substr(begin, end == std::string::npos ? end : end - begin), choice, given);
  }
  if (choice.kind->make == nullptr) {
    choice.kind = nullptr;
  } else {
    constexpr int unknown_d = 0;  // what depends on d is looked at again when a case is planned
    try {
      choice.kind->make(choice.values, unknown_d);
    } catch (std::invalid_argument const& wrong) {
      throw UsageError(option, item, "has " + std::string(wrong.what()));
    }
  }
  return choice;
}

}  // namespace

KeptSets SelectorChoice::sets() const { return is_oracle() ? KeptSets::ordered : kind->sets; }

std::string SelectorChoice::word() const {
  if (is_oracle()) return "score";
  std::string word = kind->name;
  for (auto const& parameter : kind->parameters) {
    auto const& value = values.find(parameter.key)->second;
    if (parameter.alone) word += "-" + Law::word_of(value);
    if (!parameter.alone && value != parameter.fallback) word += "-" + std::string(parameter.key) + "=" + Law::word_of(value);
  }
  return word;
}

std::vector<SelectorChoice> parse_selectors(std::string const& option, std::string const& list) {
  std::vector<SelectorChoice> choices;
  for (auto const& item : split_list(option, list)) {
    auto choice = parse_selector(option, item);
    if (std::find(choices.begin(), choices.end(), choice) != choices.end())
      throw UsageError(option, list, "names " + choice.text + " twice");
    choices.push_back(std::move(choice));
  }
  return choices;
}

void share_selection(std::vector<SelectorChoice>& choices) {
  std::vector<SelectorChoice> shared;
  for (auto choice : choices) {
    // A window is the same for all heads, and an index says itself whom it serves; the oracle stays what each head wants.
    std::string const name = choice.is_oracle() ? "" : choice.kind->name;
    bool const same = choice.is_oracle() || name == "window" || name == "file";
    auto const value = choice.values.find("share");
    if (!same && value == choice.values.end())
      throw UsageError("--share-selection", "group", "is not for " + choice.text + ", which each query head goes by itself in");
    if (!same && value->second == "head") {
      value->second = "group";
      choice.text += ":share=group";
    }
    if (std::find(shared.begin(), shared.end(), choice) != shared.end())
      throw UsageError("--share-selection", "group", "makes " + choice.text + " stand twice in --selectors");
    shared.push_back(choice);
  }
  choices = shared;
}

std::unique_ptr<Selector> make_selector(SelectorChoice const& choice, int d) {
  try {
    return choice.kind->make(choice.values, d);
  } catch (std::invalid_argument const& wrong) {
    throw UsageError("--selectors", choice.text, "has " + std::string(wrong.what()));
  }
}

std::string selector_help(std::string const& option, std::string const& name) {
  std::string text;
  if (name == "all") {
    std::size_t longest = 0;
    for (auto const& kind : selector_kinds()) longest = std::max(longest, std::string(kind.name).size());
    for (std::string row; auto const& kind : selector_kinds()) {
      row = kind.name;
      row.resize(longest + 2, ' ');
      text += row + kind.summary + "\n";
    }
    return text;
  }
  auto const& kind = kind_of(option, name, name);
  constexpr std::size_t columns = 100;
  text = std::string(kind.name) + ": " + kind.summary + "\n\n";
  std::string line;
  std::string const help = std::string(kind.help) + " ";
  for (std::size_t begin = 0, end; (end = help.find(' ', begin)) != std::string::npos; begin = end + 1) {
    if (line.size() + (end - begin) + 1 > columns) text += std::exchange(line, "") + "\n";
    line += (line.empty() ? "" : " ") + help.substr(begin, end - begin);
  }
  text += line + "\n";
  for (auto const& parameter : kind.parameters)
    text += "\n  " + std::string(parameter.key) + "=" + parameter.fallback + "  " + parameter.what;
  return text + (kind.parameters.empty() ? "" : "\n");
}

}  // namespace asymptop
