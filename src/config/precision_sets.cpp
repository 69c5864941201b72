#include "config/precision_sets.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "config/errors.hpp"
#include "config/option_values.hpp"

namespace asymptop {
namespace {

constexpr char const* formats_allowed = "is none of: fp64, fp32, bf16, fp16, fp8 (or e4m3)";

NumberFormat parse_format(std::string const& text) {
  if (text == "e4m3") return NumberFormat::fp8;
  for (auto const format : all_number_formats) {
    if (text == name_of(format)) return format;
  }
  throw UsageError("--precision", text, formats_allowed);
}

/// A format, and the order after its colon.
struct FormatAndOrder {
  NumberFormat format;
  std::optional<SumOrder> order;
};

FormatAndOrder parse_format_and_order(std::string const& text) {
  auto const colon = text.find(':');
  FormatAndOrder found{parse_format(text.substr(0, colon)), {}};
  if (colon != std::string::npos)
    found.order = choose<SumOrder>("--precision", text.substr(colon + 1), {SumOrder::sequential, SumOrder::pairwise, SumOrder::blocked});
  return found;
}

using StageFormat = NumberFormat PrecisionSet::*;
struct Stage {
  char const* name;
  StageFormat format;
};
constexpr std::array<Stage, 5> stages = {{{"logits", &PrecisionSet::logits},
                                          {"difference", &PrecisionSet::difference},
                                          {"exp", &PrecisionSet::exp},
                                          {"sum", &PrecisionSet::sum},
                                          {"p", &PrecisionSet::p}}};

PrecisionSet parse_set(std::string const& text) {
  PrecisionSet set;
  set.text.clear();
  set.order = SumOrder::sequential;
  std::vector<std::string> named;
  for (auto const& item : split_list("--precision", text)) {
    auto const equals = item.find('=');
    bool const whole = equals == std::string::npos;
    if (whole && !set.text.empty())
      throw UsageError("--precision", text, "has '" + item + "' after other items; a format for all stages comes first");
    auto const value = parse_format_and_order(whole ? item : item.substr(equals + 1));
    auto const name = whole ? "" : item.substr(0, equals);
    auto const stage = std::find_if(stages.begin(), stages.end(), [&](Stage const& s) { return name == s.name; });
    if (!whole && stage == stages.end()) throw UsageError("--precision", item, "names none of the stages: logits, difference, exp, sum, p");
    if (std::find(named.begin(), named.end(), name) != named.end()) throw UsageError("--precision", text, "names " + name + " twice");
    if (value.order && !whole && name != "sum") throw UsageError("--precision", item, "has an order, which only a sum has");
    named.push_back(name);
    for (auto const& s : stages) {
      if (whole || &s == &*stage) set.*s.format = value.format;
    }
    if (value.order) set.order = *value.order;
    set.text += (set.text.empty() ? "" : ",") + (whole ? "" : name + "=") + name_of(value.format);
  }
  if (std::find(named.begin(), named.end(), "difference") == named.end()) set.difference = wider_of(set.logits, set.exp);
  return set;
}

}  // namespace

bool PrecisionSet::same_arithmetic(PrecisionSet const& other) const {
  return order == other.order &&
         std::all_of(stages.begin(), stages.end(), [&](Stage const& s) { return this->*s.format == other.*s.format; });
}

std::vector<PrecisionSet> parse_precision_sets(std::string const& text) {
  std::vector<PrecisionSet> sets = {PrecisionSet{}};
  for (std::size_t begin = 0; begin <= text.size();) {
    auto const end = std::min(text.find(';', begin), text.size());
    auto set = parse_set(text.substr(begin, end - begin));
    begin = end + 1;
    auto const same = std::find_if(sets.begin(), sets.end(), [&](PrecisionSet const& other) { return set.same_arithmetic(other); });
    if (same == sets.begin()) continue;  // measured anyway
    if (same != sets.end()) throw UsageError("--precision", text, "names " + set.text + ":" + name_of(set.order) + " twice");
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace asymptop
