// Sets of number formats, as --precision has them: one for each stage of softmax.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/rounded_sum.hpp"

namespace asymptop {

/// Formats of one softmax row: logits s; differences s - max s; e = exp(difference); Z = sum e, added up in `order`; p = e / Z as stored.
struct PrecisionSet {
  std::string text = "fp64";  ///< as given, without the order
  NumberFormat logits = NumberFormat::fp64, difference = NumberFormat::fp64, exp = NumberFormat::fp64, sum = NumberFormat::fp64,
               p = NumberFormat::fp64;
  SumOrder order = SumOrder::pairwise;

  bool same_arithmetic(PrecisionSet const& other) const;
};

/// SETS: sets separated by `;`. A set: `bf16`, `bf16:pairwise`, `logits=bf16,sum=fp32`, `bf16,sum=fp32:blocked`. A format alone is that of
/// all stages; stages that are not named are fp64, `difference` the narrowest format that holds those of logits and exp; a sum without an
/// order is sequential. Throws UsageError.
std::vector<PrecisionSet> parse_precision_sets(std::string const& text);

}  // namespace asymptop
