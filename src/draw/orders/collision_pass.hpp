// A pass over a rank's keys that keeps those which collide with a query in hash tables, and adds up what they weigh.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/timing.hpp"
#include "draw/orders/entry_pass.hpp"
#include "kernels/select/magicpig.hpp"

namespace asymptop {

/// Sums of numbers of any size up to 2^42, in any order: whole parts of 2^-20 and what is left of them, each exact.
struct WideFixed {
  static constexpr double whole = 0x1p20;
  double rest;  ///< for n numbers in [0, 1)
  explicit WideFixed(std::int64_t n);
  void add(double x, std::int64_t* to) const;
  double value(std::int64_t const* from) const { return (static_cast<double>(from[0]) + from_fixed(from[1], rest)) / whole; }
};

/// What the pass adds up of every row: the keys that are kept, then for each law of sigma, as WideFixed, the sum of e^{sigma (s -
/// score_max)} over them, that of w e^..., and with output errors on d entries of w e^... v.
struct CollisionSums {
  std::vector<double> sigmas;
  std::vector<float> score_max;  ///< of all rows
  bool output;
  int d;
  std::size_t numbers_of_law() const { return 2 + (output ? d : 0); }
  std::size_t width() const { return 1 + 2 * sigmas.size() * numbers_of_law(); }
};

/// (rows, width). n: keys of the sequence.
std::vector<std::int64_t> add_collisions(EntryRows const& rows, MagicpigSelector const& selector, CollisionSums const& sums, std::int64_t n,
                                         ShardTensors<RunSpace>& tensors, PhaseTimes& phases);

}  // namespace asymptop
