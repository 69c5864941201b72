// The validated options of a study of arithmetic: which formats each stage of softmax has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "asymptop/kernels/core/rounded_sum.hpp"
#include "config/law.hpp"
#include "config/measure_options.hpp"

namespace asymptop {

/// Formats of one softmax row: logits s; differences s - max s; e = exp(difference); Z = sum e, added up in `order`; p = e / Z as stored.
struct PrecisionSet {
  std::string text = "fp64";  ///< as given, without the order
  NumberFormat logits = NumberFormat::fp64, difference = NumberFormat::fp64, exp = NumberFormat::fp64, sum = NumberFormat::fp64,
               p = NumberFormat::fp64;
  SumOrder order = SumOrder::pairwise;

  bool same_arithmetic(PrecisionSet const& other) const;
};

struct PrecisionConfig : MeasureOptions {
  std::vector<std::int64_t> n;
  std::vector<Law> sigma, k, count_above;
  std::vector<PrecisionSet> precision;  ///< the first is fp64 throughout, pairwise: what the others are held against
  std::int64_t rows = 4, draws = 16;
};

/// SETS: sets separated by `;`. A set: `bf16`, `bf16:pairwise`, `logits=bf16,sum=fp32`, `bf16,sum=fp32:blocked`. A format alone is that of
/// all stages; stages that are not named are fp64, `difference` the narrowest format that holds those of logits and exp; a sum without an
/// order is sequential. Throws UsageError.
std::vector<PrecisionSet> parse_precision_sets(std::string const& text);

/// Parses `asymptop precision` options. Returns nothing after --help was printed. Throws UsageError.
std::optional<PrecisionConfig> parse_precision_options(int argc, char const* const* argv, bool print_help);

}  // namespace asymptop
