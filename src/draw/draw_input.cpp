#include "draw/draw_input.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/core/math.hpp"
#include "kernels/input/normal_rows.hpp"

namespace asymptop {
namespace {

double norm_of(std::vector<double> const& q) {
  double square = 0.0;
  for (auto const value : q) square += value * value;
  return std::sqrt(square);
}

/// q c_j for every centre.
std::vector<double> centre_scores(InputTables const& tables, std::vector<double> const& q) {
  std::vector<double> scores(tables.centres.size() / q.size(), 0.0);
  for (std::size_t i = 0; i < tables.centres.size(); ++i) scores[i / q.size()] += q[i % q.size()] * tables.centres[i];
  return scores;
}

/// Where a planted key stands, in standard deviations of its query's scores.
double needle_height(InputKind const& kind, std::int64_t n) { return std::sqrt(2.0 * std::log(n)) + kind.parameter; }

}  // namespace

InputTables draw_tables(InputKind const& kind, Stream centres, int d) {
  InputTables tables;
  if (!kind.is(Distribution::clusters)) return tables;
  std::size_t const count = std::llround(kind.parameter), width = d;
  tables.centres.resize(count * width);
  for (std::size_t j = 0; j < count; ++j) normal_row(centres, j, d, &tables.centres[j * width]);
  std::vector<double> mean(width, 0.0);
  for (std::size_t i = 0; i < count * width; ++i) mean[i % width] += tables.centres[i] / exact_double(count);
  double square = 0.0;
  for (std::size_t i = 0; i < count * width; ++i) {
    double const offset = tables.centres[i] - mean[i % width];
    square += offset * offset;
  }
  double const factor = std::sqrt((1.0 - kind.spread * kind.spread) * exact_double(count * width) / square);
  for (std::size_t i = 0; i < count * width; ++i) tables.centres[i] = to_fp32((tables.centres[i] - mean[i % width]) * factor);
  return tables;
}

void plant_keys(InputKind const& kind, Stream keys, std::vector<std::int64_t> const& positions, QueryRows const& queries, std::int64_t n,
                InputTables& tables) {
  int const d = checked_int(queries.q.size() / queries.rows());
  tables.planted = positions;
  tables.planted_rows.resize(queries.q.size());
  std::vector<double> q(d);
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    float* const row = &tables.planted_rows[i * d];
    normal_row(keys, positions[i], d, row);
    double score = 0.0;
    for (int c = 0; c < d; ++c) {
      q[c] = queries.q[i * d + c];
      score += q[c] * row[c];
    }
    double const norm = norm_of(q), move = (needle_height(kind, n) * norm - score) / (norm * norm);
    for (int c = 0; c < d; ++c) row[c] = to_fp32(row[c] + move * q[c]);
  }
}

double score_deviation(InputKind const& kind, InputTables const& tables, std::vector<double> const& q) {
  double const norm = norm_of(q);
  if (!kind.is(Distribution::clusters)) return norm;
  auto const scores = centre_scores(tables, q);
  double const count = int_size(scores);
  double mean = 0.0, variance = 0.0;
  for (auto const score : scores) mean += score / count;
  for (auto const score : scores) variance += (score - mean) * (score - mean) / count;
  return std::sqrt(kind.spread * kind.spread * norm * norm + variance);
}

std::pair<double, double> score_bounds(InputKind const& kind, InputTables const& tables, ScaledQuery const& query, std::int64_t n) {
  // A standard normal leaves it with a chance of 2e-21 per key; sums of independent uniform numbers or signs, and points of the sphere,
  // whose moment generating functions lie below the normal one, with one of at most 5e-20.
  constexpr double normal_bound = 9.5, rounding = 1.0 + 1e-6;
  auto const& q = query.q;
  double const width = int_size(q);
  auto bounds = [&]() -> std::pair<double, double> {
    auto const within = [&](double deviations) { return std::pair(-query.deviation * deviations, query.deviation * deviations); };
    switch (kind.distribution) {
      case Distribution::uniform:
      case Distribution::rademacher: {
        double sum = 0.0;
        for (auto const value : q) sum += std::fabs(value);
        return within(std::min(normal_bound, kind.coordinate_bound(1) * sum / query.deviation * rounding));
      }
      case Distribution::sphere:
        return within(std::min(normal_bound, std::sqrt(width) * rounding));
      case Distribution::student:
        return {0.0, 0.0};
      case Distribution::needle:
        // A planted row is set along its own query and normal across it; another query sees a mixture of both.
        return within((normal_bound + needle_height(kind, n)) * rounding);
      case Distribution::clusters: {
        auto const scores = centre_scores(tables, q);
        auto const [low, high] = std::minmax_element(scores.begin(), scores.end());
        double const around = kind.spread * normal_bound * norm_of(q) + 1e-6 * std::max(std::fabs(*low), std::fabs(*high));
        return {*low - around, *high + around};
      }
      default:
        // A key near in time to the query's own is partly that key.
        return within(query.own_score ? std::sqrt(width) + normal_bound : normal_bound);
    }
  }();
  if (query.own_score) {
    double const slack = std::fabs(*query.own_score) * (rounding - 1.0);
    bounds = {std::min(bounds.first, *query.own_score - slack), std::max(bounds.second, *query.own_score + slack)};
  }
  return bounds;
}

}  // namespace asymptop
