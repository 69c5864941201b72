// The matrix of exact minus top-k attention weights, never stored: tail sums and products against fp64, and the same bits for any split.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attend/difference.hpp"
#include "kernels/reference/attention_row.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
using Space = Kokkos::DefaultHostExecutionSpace;

constexpr int strip = 64;

struct Problem {
  int rows, n, d;
  float sigma;
  std::vector<std::int64_t> k;
  std::vector<float> q, keys, packed;
  DifferenceRows known;
  std::vector<std::vector<std::vector<double>>> matrix;  ///< (k, rows, n) in fp64
  std::vector<double> tails;                             ///< (rows, k): sum of e^{sigma (s - edge)} outside the head
  std::vector<std::int64_t> inside;                      ///< (rows, k)

  /// integers: scores with many ties.
  Problem(Random& random, int row_count, int key_count, int columns, float sigma_value, std::vector<std::int64_t> ks, bool causal,
          bool integers)
      : rows(row_count), n(key_count), d(columns), sigma(sigma_value), k(std::move(ks)), matrix(k.size()) {
    auto const value = [&] { return integers ? static_cast<float>(random.integer(-1, 1)) : static_cast<float>(random.normal()); };
    for (int i = 0; i < rows * d; ++i) q.push_back(value() / std::sqrt(static_cast<float>(d)));
    for (int i = 0; i < n * d; ++i) keys.push_back(value());
    packed.resize(packed_size(n, d));
    pack_keys(keys.data(), n, d, packed.data());
    known.heads = static_cast<int>(k.size());
    known.sigma = sigma;
    for (int row = 0; row < rows; ++row) add_row(row, causal ? std::min(n, row * n / rows + 1) : n);
  }

  float score(int row, int key) const {
    float s = 0.0f;
    for (int c = 0; c < d; ++c) s = std::fma(q[static_cast<std::size_t>(row * d + c)], keys[static_cast<std::size_t>(key * d + c)], s);
    return s;
  }

  void add_row(int row, int visible) {
    std::vector<double> scores, logits;
    for (int j = 0; j < visible; ++j) {
      scores.push_back(static_cast<double>(score(row, j)));
      logits.push_back(static_cast<double>(sigma) * scores.back());
    }
    auto const order = reference::order(scores);
    auto const p = reference::softmax(logits);
    double const max = scores[static_cast<std::size_t>(order[0])];
    double z = 0.0;
    for (auto const s : scores) z += std::exp(static_cast<double>(sigma) * (s - max));
    known.limit.push_back(visible);
    known.max.push_back(static_cast<float>(max));
    for (std::size_t h = 0; h < k.size(); ++h) {
      auto const kept = std::min<std::int64_t>(k[h], visible);
      auto const last = order[static_cast<std::size_t>(kept - 1)];
      double const edge = scores[static_cast<std::size_t>(last)];
      double tail = 0.0, head = 0.0;
      for (std::size_t i = 0; i < order.size(); ++i)
        (static_cast<std::int64_t>(i) < kept ? head : tail) += p[static_cast<std::size_t>(order[i])];
      known.edge.push_back({static_cast<float>(edge), last});
      known.outside.push_back(static_cast<float>(1.0 / z));
      known.inside.push_back(static_cast<float>(-tail / head / z));
      tails.push_back(tail * z * std::exp(static_cast<double>(sigma) * (max - edge)));
      inside.push_back(kept);
      auto const p_hat = reference::top_k_softmax(p, order, kept);
      auto& values = matrix[h].emplace_back(static_cast<std::size_t>(n), 0.0);
      for (std::size_t j = 0; j < p.size(); ++j) values[j] = p[j] - p_hat[j];
    }
  }

  DifferenceMatrix<Space> on(PackedQueries const& queries, int threads) const { return {queries, known, strip, threads}; }
  PackedQueries panels() const { return {q.data(), rows, d, strip}; }
};

/// Adds all keys in pieces of whole strips, the last piece first.
template <class Add>
void in_pieces(Problem const& p, int piece, Add const& add) {
  int const pieces = (p.n + piece - 1) / piece;
  for (int i = pieces - 1; i >= 0; --i)
    add(p.packed.data() + static_cast<std::ptrdiff_t>(i) * piece * p.d, i * piece, std::min(piece, p.n - i * piece));
}

std::vector<Problem> problems(Random& random) {
  std::vector<Problem> all;
  all.emplace_back(random, 1, 1, 4, 1.0f, std::vector<std::int64_t>{1}, false, false);
  all.emplace_back(random, 70, 300, 8, 1.5f, std::vector<std::int64_t>{1, 17, 299, 300}, false, false);
  all.emplace_back(random, 200, 200, 16, 3.0f, std::vector<std::int64_t>{1, 20}, true, false);
  all.emplace_back(random, 90, 257, 5, 2.0f, std::vector<std::int64_t>{3, 64, 100}, true, true);
  return all;
}

TEST(Difference, TailSumsAndCounts) {
  Random random(100);
  for (auto const& p : problems(random)) {
    double const factor = FixedPoint::make(p.n, 1.0).weight;
    auto const queries = p.panels();
    for (int const threads : {1, 3}) {
      std::vector<TailSums> sums(static_cast<std::size_t>(p.rows) * p.k.size());
      in_pieces(p, 2 * strip, [&](float const* packed, int first, int count) {
        p.on(queries, threads).add_tails(Space(), packed, first, count, factor, sums);
      });
      for (std::size_t i = 0; i < sums.size(); ++i) {
        ASSERT_EQ(sums[i].inside, p.inside[i]) << i;
        ASSERT_NEAR(static_cast<double>(sums[i].weight) / factor, p.tails[i], 1e-5 * p.tails[i]) << i;
        ASSERT_LE(sums[i].square, sums[i].weight);
      }
    }
  }
}

TEST(Difference, ProductsAgainstTheStoredMatrix) {
  Random random(101);
  for (auto const& p : problems(random)) {
    auto const heads = p.k.size(), n = static_cast<std::size_t>(p.n), rows = static_cast<std::size_t>(p.rows);
    auto const x = random.normals(heads * n), y = random.normals(heads * rows);  // (heads, n), (rows, heads)
    std::vector<double> const row_scale(rows * heads, std::ldexp(1.0, 50)), key_scale(heads, std::ldexp(1.0, 50));
    auto const queries = p.panels();
    std::vector<std::int64_t> first_y, first_z;
    for (int const threads : {1, 2, 5}) {
      for (int const piece : {strip, 3 * strip, p.n + strip}) {
        std::vector<std::int64_t> sum_y(rows * heads, 0), sum_z(heads * n, 0);
        auto const matrix = p.on(queries, threads);
        in_pieces(p, (piece + strip - 1) / strip * strip, [&](float const* packed, int first, int count) {
          matrix.multiply(Space(), packed, first, count, x.data() + first, p.n, row_scale, sum_y);
          matrix.multiply_transposed(Space(), packed, first, count, y, key_scale, sum_z.data() + first, p.n);
        });
        if (first_y.empty()) {
          first_y = sum_y;
          first_z = sum_z;
        }
        ASSERT_EQ(sum_y, first_y) << "threads " << threads << " piece " << piece;
        ASSERT_EQ(sum_z, first_z) << "threads " << threads << " piece " << piece;
      }
    }
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < rows; ++i) {
        double expected = 0.0, size = 0.0;
        for (std::size_t j = 0; j < n; ++j) {
          expected += p.matrix[h][i][j] * static_cast<double>(x[h * n + j]);
          size += std::fabs(p.matrix[h][i][j] * static_cast<double>(x[h * n + j]));
        }
        ASSERT_NEAR(static_cast<double>(first_y[i * heads + h]) / std::ldexp(1.0, 50), expected, 1e-5 * size + 1e-7) << h << ", " << i;
      }
      for (std::size_t j = 0; j < n; ++j) {
        double expected = 0.0, size = 0.0;
        for (std::size_t i = 0; i < rows; ++i) {
          expected += p.matrix[h][i][j] * static_cast<double>(y[i * heads + h]);
          size += std::fabs(p.matrix[h][i][j] * static_cast<double>(y[i * heads + h]));
        }
        ASSERT_NEAR(static_cast<double>(first_z[h * n + j]) / std::ldexp(1.0, 50), expected, 1e-5 * size + 1e-7) << h << ", " << j;
      }
    }
  }
}

TEST(Difference, BatchesOfWholeTilesGiveTheSameBits) {
  Random random(102);
  Problem const p(random, 200, 320, 12, 2.0f, {5, 50}, true, false);
  auto const heads = p.k.size();
  auto const y = random.normals(static_cast<std::size_t>(p.rows) * heads);
  std::vector<double> const scale(heads, std::ldexp(1.0, 40));
  std::vector<std::int64_t> whole(heads * static_cast<std::size_t>(p.n), 0), parts = whole;
  auto const queries = p.panels();
  p.on(queries, 1).multiply_transposed(Space(), p.packed.data(), 0, p.n, y, scale, whole.data(), p.n);
  for (int first = 0; first < p.rows; first += 2 * strip) {
    int const count = std::min(2 * strip, p.rows - first);
    PackedQueries const part(p.q.data() + static_cast<std::ptrdiff_t>(first) * p.d, count, p.d, strip);
    auto const cut = [&](auto const& values, std::size_t width) {
      auto const begin = values.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * width);
      return std::decay_t<decltype(values)>(begin, begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(count) * width));
    };
    auto known = p.known;
    known.limit = cut(p.known.limit, 1);
    known.max = cut(p.known.max, 1);
    known.edge = cut(p.known.edge, heads);
    known.outside = cut(p.known.outside, heads);
    known.inside = cut(p.known.inside, heads);
    DifferenceMatrix<Space>(part, known, strip, 2)
        .multiply_transposed(Space(), p.packed.data(), 0, p.n, cut(y, heads), scale, parts.data(), p.n);
  }
  EXPECT_EQ(whole, parts);
}

}  // namespace
}  // namespace asymptop
