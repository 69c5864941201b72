// How a search for k_epsilon goes on after each answer: from a sample to a window of the order, and from bins to finer ones, until few
// entries are in question.
#pragma once

#include <cstdint>
#include <vector>

#include "draw/orders/order_questions.hpp"
#include "kernels/core/fixed_point.hpp"

namespace asymptop {

/// One k_epsilon, on the owner of its row.
struct Search {
  std::size_t row, item;  ///< row: of the owner's rows
  OrderQuestion question;
  double sink = 0.0;                   ///< the part of the row's denominator that is no key's, in the units of masses
  bool idle = false;                   ///< there is nothing to ask now
  OrderGrid whole{};                   ///< of the whole order
  std::vector<std::int64_t> window{};  ///< what was found in a window, if one was asked for
  int store = -1;                      ///< that window
  int finer = 0;
  std::int64_t all = 0, keys_ahead = 0, mass_beyond = 0;  ///< the mass of the order; and what lies outside the window
  std::int64_t keys_before = 0, mass_behind = 0;          ///< of the wanted bin

  /// The mass that may be left.
  std::int64_t target(double epsilon) const { return share_of_sums(epsilon, all, sink); }
};

/// Bins of a sample.
inline constexpr int bins_of_sample = 1024;

/// The answer of a bin's entries: how many keys are kept.
std::int64_t keys_kept(Search const& search, double epsilon, std::vector<OrderEntry> entries);

/// Finds the bin where the mass left passes epsilon, and what to ask next.
void look_closer(Search& search, double epsilon, std::int64_t const* sums, int page);

/// What is known before a window is chosen.
struct SampledOrder {
  double target;         ///< the mass to be left, in the units of sums
  double unit;           ///< of sums
  std::int64_t visible;  ///< keys of the row
  int page;
  bool places;
  std::int64_t held;  ///< entries that are known without a window
};

/// Asks for the window that holds the answer by what some of the keys say; for none where it would hold many entries, or where the answer
/// lies among the first `held` entries.
void choose_window(Search& search, SampledOrder const& order, std::int64_t const* sums);

/// What comes after a window, if there was one: its entries are asked next, or all bins where the answer is not among them.
void look_into_window(Search& search, double epsilon, bool places);

}  // namespace asymptop
