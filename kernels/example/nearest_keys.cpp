// The k keys that score best against each of a few queries, and their exact attention: softmax(q K^T / sqrt(d)) V. Any matrices will do.
#include <asymptop/kernels.hpp>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

using Space = Kokkos::DefaultHostExecutionSpace;

/// Row-major (rows, d) numbers between -2 and 2, from a generator that the C++ standard spells out.
std::vector<float> random_matrix(int rows, int d, unsigned seed) {
  std::minstd_rand engine(seed);
  std::vector<float> matrix(rows * d);
  for (auto& x : matrix) x = static_cast<float>((static_cast<double>(engine()) - 1073741824.0) / 536870912.0);
  return matrix;
}

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard const kokkos(argc, argv);
  Space const space;
  constexpr int m = 4, n = 1000, d = 16, k = 3;
  auto const q = random_matrix(m, d, 1), keys = random_matrix(n, d, 2), values = random_matrix(n, d, 3);

  // Kernels read queries in panels and keys in groups of 32; both are packed once and used again and again.
  asymptop::PackedQueries const queries(q.data(), m, d);
  std::vector<float> packed(asymptop::packed_size(n, d));
  asymptop::pack_keys(keys.data(), n, d, packed.data());
  std::vector<std::int64_t> const limit(m, n);  // keys that each row sees: less for a causal mask

  // Keys come in one piece here, [0, n); long sequences come in several, and only one has to be in memory.
  asymptop::FusedFirstPass<Space> best(queries, {k, false, {}, space.concurrency()}, {}, limit);
  best.add(space, packed.data(), 0, n);
  asymptop::FusedAttention<Space> attention(queries, space.concurrency(), asymptop::largest_leaf, 0, limit, 1.0f / std::sqrt(float{d}));
  attention.add(space, packed.data(), values.data(), 0, n);

  std::vector<asymptop::PackedCandidate> spare;
  for (int row = 0; row < m; ++row) {
    std::printf("row %d best", row);
    for (auto const key : best.head(row, spare)) std::printf(" %u:%.6f", asymptop::index_of(key), asymptop::score_of(key));
    auto run = attention.run(row);  // sums over parts of the sequence, which finish() joins
    run.finish(attention.columns());
    std::printf(" attention");
    float const* sum = run.values(0, attention.columns());
    for (int c = 0; c < d; ++c) std::printf(" %.6f", sum[c] / run.nodes()[0].weight);
    std::printf("\n");
  }
}
