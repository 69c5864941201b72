// Synthetic input of one draw: what its rows are made from, and what is known of a query's scores before any key is seen.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "draw/queries.hpp"
#include "kernels/input/input_row.hpp"

namespace asymptop {

/// Tables of the draw, but for planted rows: the same on every rank.
InputTables draw_tables(InputKind const& kind, Stream centres, int d);

/// The keys planted for the queries: the key at each place, itself at first a row of normals, gets another component along its query.
/// `positions`: one for each query, distinct.
void plant_keys(InputKind const& kind, Stream keys, std::vector<std::int64_t> const& positions, QueryRows const& queries, std::int64_t n,
                InputTables& tables);

/// Standard deviation of q x over random keys x: sqrt(q^T Cov q).
///   clusters:  given the centres c_j of the draw, sqrt(spread^2 ‖q‖^2 + the variance of q c_j over j)
///   others:    ‖q‖; for student with nu <= 2, which has none, the scale; for needle, of the keys that are not planted
double score_deviation(InputKind const& kind, InputTables const& tables, std::vector<double> const& q);

/// A query row, its score_deviation(), and its score with its own key, if that is among the keys.
struct ScaledQuery {
  std::vector<double> const& q;
  double deviation;
  std::optional<double> own_score;
};

/// What q x stays within, over all of 2^48 keys with a chance of at most 2e-5 to leave it (Gaussian or sub-Gaussian tails); student:
/// nothing is known, and both are 0.
std::pair<double, double> score_bounds(InputKind const& kind, InputTables const& tables, ScaledQuery const& query, std::int64_t n);

}  // namespace asymptop
