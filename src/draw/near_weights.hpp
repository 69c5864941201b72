// The weight of the first and the most recent keys of rows of a tensor file.
#pragma once

#include <cstdint>
#include <vector>

#include "draw/queries.hpp"

namespace asymptop {

/// Of each row: the sum of p over those of the context's first keys that it sees, and over the last ones up to its own.
struct NearWeights {
  std::vector<double> first, recent;
};

/// In fp64, from fp32 keys of the file: e^{logit - log_sum_exp}. rows: of a draw of that layer; offset: TensorOrigin's; log_sum_exp (rows);
/// --first-keys and --recent-keys say how many keys. On one rank.
NearWeights near_weights(DrawIdentity const& identity, TensorLayer const& layer, QueryRows const& rows, std::vector<float> const& offset,
                         std::vector<double> const& log_sum_exp);

}  // namespace asymptop
