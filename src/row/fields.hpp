// Every quantity of a query row, in one table. Containers, messages between ranks, datasets, records and the table of
// src/results/README.md are made from it: a new quantity is one line here, and its formula where rows are evaluated.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace asymptop {

/// What a quantity has a value for, besides the row itself.
enum class Axis { row, k, epsilon, threshold };
enum class Number { real, count };
/// From the query and its place in the sequence alone, or from the row's logits.
enum class Source { query, logits };
enum class Presence {
  always,
  by_thresholds,
  output_error,
  by_selector,
  by_order,
  by_selector_order,
  by_estimator,
  of_tensors,
  of_sinks,
  of_softcaps,
  output_error_of_file
};
/// Whether tidy records hold its mean over draws.
enum class Records { unrecorded, recorded };

struct RowField {
  char const* name;
  Axis axis;
  Number number;
  Source source;
  Presence presence;
  Records records;
  char const* units;
  char const* long_name;
  char const* remark = "";  ///< for readers of files: how it is made, and how far it can be trusted
};

// clang-format off
inline constexpr auto row_fields = [] {
  using enum Axis;
  using enum Number;
  using enum Source;
  using enum Presence;
  using enum Records;
  return std::to_array<RowField>({
    {"row_n", row, count, query, always, unrecorded, "keys", "keys that the row sees", "differs from n under a causal mask, a window, without the first keys"},
    {"row_position", row, count, query, always, unrecorded, "1", "position of the query in the sequence, -1 when not in it"},
    {"sigma_i", row, real, query, always, unrecorded, "1", "standard deviation of the row's logits over keys",
     "exact for synthetic input (over random keys; per input in [src/draw/README.md](../draw/README.md)), sampled over the row's own keys for tensors"},
    {"logit_mean", row, real, logits, always, unrecorded, "1", "mean of the row's logits",
     "from moments in bins of width w <= sigma / 32 (tensors: <= 1/32; up to 4 times wider where logits of `student` input go beyond 15,000 or those beside ALiBi slopes span over 31,000): known to w 2^-15"},
    {"logit_std", row, real, logits, always, unrecorded, "1", "standard deviation of the row's logits over its keys", "from the same bins: the variance is known to w^2 2^-10"},
    {"logit_max", row, real, logits, always, unrecorded, "1", "largest logit of the row"},
    {"log_sum_exp", row, real, logits, always, unrecorded, "1", "log of the sum of exp(logit)", "the denominator, with a learned sink in it"},
    {"entropy_nats", row, real, logits, always, recorded, "nat", "entropy of p", "of the keys among themselves: p / (1 - sink_mass) under a learned sink"},
    {"sum_p_squared", row, real, logits, always, recorded, "1", "sum of p^2"},
    {"p_max", row, real, logits, always, recorded, "1", "largest p"},
    {"participation_ratio", row, real, logits, always, recorded, "keys", "1 / sum of p^2", "of the keys among themselves: (1 - sink_mass)^2 over it under a learned sink"},
    {"first_keys_mass", row, real, query, of_tensors, recorded, "1", "sum of p over the first keys of the context", "`first_keys` of them, those that the row sees"},
    {"recent_keys_mass", row, real, query, of_tensors, recorded, "1", "sum of p over the keys up to the query's own", "`recent_keys` of them, those that the row sees"},
    {"largest_place", row, count, logits, of_tensors, unrecorded, "1", "place in the context of the largest entry, from 0", "the query's own is `row_position` less the context's beginning; of equal entries the first"},
    {"sink_mass", row, real, logits, of_sinks, recorded, "1", "weight of the learned sink", "e^sink_logit over the denominator; of no key, and always kept: p add up to 1 less this"},
    {"softcap_reached", row, real, logits, of_softcaps, unrecorded, "1", "share of the row's logits within 1/128 of the softcap, or of -softcap", "where fp32 tells over 20 times fewer products apart; to a bin, as of `logit_mean`"},
    {"k_counted", k, count, logits, by_thresholds, unrecorded, "keys", "keys that the errors at k are those of: k itself up to k_held"},
    {"k_counted_bound", k, real, logits, by_thresholds, unrecorded, "1", "bound on |tail_mass at k - tail_mass at k_counted|"},
    {"tail_mass", k, real, logits, always, recorded, "1", "1 - sum of the k largest p", "tau, summed itself over the keys beyond; 1 - sink_mass less that sum under a learned sink"},
    {"row_l2_error", k, real, logits, by_order, recorded, "1", "2-norm of p - p_hat", "over the keys; its square is (tau / (1 - tau))^2 (sum of p^2 kept) + (sum of p^2 dropped)"},
    {"row_linf_error", k, real, logits, by_order, recorded, "1", "maximum norm of p - p_hat", "max(p_max tau / (1 - tau), largest p dropped)"},
    {"output_error_relative", k, real, logits, output_error, recorded, "1", "2-norm of (p - p_hat) V over that of p V"},
    {"output_error", k, real, logits, output_error, recorded, "1", "2-norm of (p - p_hat) V", "of an estimator p_hat has the weights of its keys"},
    {"output_error_rounding", k, real, logits, output_error_of_file, unrecorded, "1", "what roundings to fp32 may change `output_error` by",
     "two means of values have few digits for a difference far smaller than they are. Under a selector as large a share of its errors as of exact top-k's"},
    {"softcap_ties", k, real, logits, of_softcaps, unrecorded, "1", "share of the k best keys that fp32 cannot tell from others, so near are their logits to the softcap",
     "which of them are kept is by their place; 0 beyond `k_held`"},
    {"kept", k, count, logits, by_selector, recorded, "keys", "keys that are kept at k", "whole pages, at most k keys of them, or one page; up to k of each shard (`shard-union`), or as many as an estimator without an order draws, top-p leaves (`twilight`) or reach a threshold (`threshold`)"},
    {"regret", k, real, logits, by_selector_order, recorded, "1", "tail_mass minus that of the best set of as many keys", "summed itself over the keys that the two sets do not share"},
    {"recall", k, real, logits, by_selector_order, recorded, "1", "share of the best set of as many keys that is kept"},
    {"denominator_error", k, real, logits, by_estimator, recorded, "1", "|D^/D - 1|, D^ = sum of w e^logit over the kept keys", "w: one over the chance of a key to be kept, 1 for forced keys; D^ - D is (w - 1) times the sampled sum minus what is dropped"},
    {"k_epsilon", epsilon, count, logits, by_order, recorded, "keys", "fewest keys kept with tail_mass <= epsilon", "of exact top-k the smallest such k; selectors of pages keep whole ones. 0 where a learned sink leaves no more to all keys"},
    {"count_p_above", threshold, count, logits, always, recorded, "keys", "entries with p > threshold", "of a law in n, such as 1/n, at the row's own row_n"},
  });
}();
// clang-format on

/// Where a field is in the table. A name that is not there, or of other numbers, is a compilation error.
consteval std::size_t place_of(char const* name, Number number) {
  for (std::size_t place = 0; place < row_fields.size(); ++place) {
    if (std::string_view(row_fields[place].name) == name && row_fields[place].number == number) return place;
  }
  throw "no such field with such numbers";
}

/// A field of real numbers, by its name; and one of counts.
struct RealField {
  std::size_t place;
  consteval RealField(char const* name) : place(place_of(name, Number::real)) {}
};
struct CountField {
  std::size_t place;
  consteval CountField(char const* name) : place(place_of(name, Number::count)) {}
};

/// What decides which fields a case has, and how many values of each a row has.
struct FieldAxes {
  std::size_t k = 0, epsilon = 0, thresholds = 0;
  bool by_thresholds = false, output_error = false, by_selector = false, estimator = false;
  bool ordered = true;   ///< what is kept are the first keys of an order, at every k
  bool tensors = false;  ///< of a tensor file, and of no selector but score
  bool sinks = false;    ///< of a head that has learned one
  bool softcap = false;  ///< of a head that has one
  bool of_file = false;  ///< of a tensor file

  bool has(RowField const& field) const {
    switch (field.presence) {
      case Presence::always:
        return true;
      case Presence::by_thresholds:
        return by_thresholds;
      case Presence::output_error:
        return output_error;
      case Presence::by_selector:
        return by_selector;
      case Presence::by_order:
        return ordered;
      case Presence::by_selector_order:
        return by_selector && ordered;
      case Presence::by_estimator:
        return estimator;
      case Presence::of_tensors:
        return tensors;
      case Presence::of_sinks:
        return sinks;
      case Presence::of_softcaps:
        return softcap;
      case Presence::output_error_of_file:
        return output_error && of_file;
    }
    return false;
  }
  std::size_t length(Axis axis) const { return axis == Axis::row ? 1 : axis == Axis::k ? k : axis == Axis::epsilon ? epsilon : thresholds; }
};

/// As dimensions are named in files; empty for none.
char const* name_of(Axis axis);

/// Names of the fields that records hold, in the order of records: along k, epsilon, thresholds, then one per row.
std::vector<RowField const*> recorded_fields(std::span<RowField const> fields = row_fields);

/// For readers of results files: a Markdown table of all fields.
std::string fields_table(std::span<RowField const> fields = row_fields);

}  // namespace asymptop
