// Top-k attention of heads that lie in device memory: attend/winners.hpp, to the bit.
#pragma once

#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Operands, in device memory but for the numbers.
struct WinnersArguments {
  int rows, d;
  std::uint64_t const* heads;  ///< (rows, keep): PackedCandidate, best first
  int keep;
  int const* counts;                   ///< (rows): how many of a head are wanted
  float const* reference;              ///< (rows)
  float sigma;                         ///< factor of the scores
  float const* values;                 ///< (keys, d)
  double weight_factor, value_factor;  ///< of fixed point (FixedPoint)
  std::int64_t* sums;                  ///< (rows, d + 1), zeros before: d sums of e^{sigma (s - reference)} v, then that of the weights
};
/// Without waiting.
void sum_winners(Stream stream, WinnersArguments const& arguments);

/// Attention outputs (rows, d) of such sums. Without waiting.
void winner_outputs(Stream stream, std::int64_t const* sums, int rows, int d, double weight_factor, double value_factor, double* outputs);

}  // namespace asymptop::device
