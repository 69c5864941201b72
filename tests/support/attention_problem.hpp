// Queries, keys and values of a small attention problem, and the keys as BLAS tiles want them: padded with zeros.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/score/score_tile.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop::test {

struct AttentionProblem {
  int rows, n, d, tile;
  std::vector<float> queries, keys, values;  ///< keys and values (n, d)
  std::vector<float> scores;                 ///< (rows, n), as score_tiles makes them
  std::vector<std::int64_t> visible;         ///< keys that each row sees

  float score(int row, int key) const {
    return scores[static_cast<std::size_t>(row) * static_cast<std::size_t>(n) + static_cast<std::size_t>(key)];
  }
  /// The first `visible` scores of a row.
  std::vector<double> seen(int row) const {
    auto const* first = &scores[static_cast<std::size_t>(row) * static_cast<std::size_t>(n)];
    return {first, first + visible[static_cast<std::size_t>(row)]};
  }
  /// Rows [first, first + count) of keys or values, then zeros up to `padded`.
  std::vector<float> padded(std::vector<float> const& tensor, int first, int count, int padded_count) const {
    std::vector<float> part(tensor.begin() + first * d, tensor.begin() + (first + count) * d);
    part.resize(static_cast<std::size_t>(padded_count) * static_cast<std::size_t>(d), 0.0f);
    return part;
  }
};

enum class Entries { normal, small_integers };  ///< small integers make exact scores with many ties

/// `Space`: where the scores are computed.
template <class Space = Kokkos::Serial>
AttentionProblem make_problem(Random& random, int rows, int n, int d, int tile, Entries entries) {
  AttentionProblem problem{rows, n, d, tile, {}, {}, {}, {}, std::vector<std::int64_t>(static_cast<std::size_t>(rows), n)};
  auto const fill = [&](std::vector<float>& tensor, int count, double sigma) {
    for (int i = 0; i < count * d; ++i) {
      tensor.push_back(
          static_cast<float>(entries == Entries::normal ? sigma * random.normal() : static_cast<double>(random.integer(-1, 1))));
    }
  };
  fill(problem.queries, rows, 1.0 / std::sqrt(static_cast<double>(d)));
  fill(problem.keys, n, 1.0);
  for (int i = 0; i < n * d; ++i) problem.values.push_back(static_cast<float>(random.normal()));
  Space const space;
  int const padded = (n + tile - 1) / tile * tile;
  Matrix<Space, float> const scores("Asymptop::test::scores", static_cast<std::size_t>(rows), static_cast<std::size_t>(padded));
  score_tiles(space, matrix_of<Space>(problem.queries, static_cast<std::size_t>(rows)),
              matrix_of<Space>(problem.padded(problem.keys, 0, n, padded), static_cast<std::size_t>(padded)), scores, padded, tile);
  space.fence();
  auto const host = host_copy(scores);
  for (int i = 0; i < rows; ++i) problem.scores.insert(problem.scores.end(), &host(i, 0), &host(i, 0) + n);
  return problem;
}

}  // namespace asymptop::test
