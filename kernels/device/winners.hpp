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
  int stride = 0;                      ///< numbers from one row of sums to the next; 0: d + 1
};
/// Without waiting.
void sum_winners(Stream stream, WinnersArguments const& arguments);

/// Sums that ranks made with references of their own, at the owner of their rows.
struct WinnersParts {
  int ranks, rows, d;
  std::int64_t const* parts;  ///< (ranks, rows, d + 2): the bits of the reference, an fp32 number, -inf for no winner; then as `sums`
  double weight_factor, value_factor;
  double* outputs;  ///< (rows, d)
};
/// Attention outputs over the winners of all ranks, parts weighed by e^{reference - largest of all}, in rank order. Without waiting.
void combine_winners(Stream stream, WinnersParts const& parts);

/// Attention outputs (rows, d) of such sums. Without waiting.
void winner_outputs(Stream stream, std::int64_t const* sums, int rows, int d, double weight_factor, double value_factor, double* outputs);

}  // namespace asymptop::device
