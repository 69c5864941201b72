// Queries and keys that screening in 8 bits may stumble over, quantised.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/score/quantised.hpp"
#include "kernels/score/screen_panel.hpp"
#include "support/random.hpp"

namespace asymptop::test {

/// Row-major queries and keys.
struct Problem {
  std::string name;
  int rows, n, d;
  std::vector<float> q, k;

  Problem(std::string what, Random& random, int row_count, int keys, int columns, double q_size = 1.0, double k_size = 1.0)
      : name(std::move(what)), rows(row_count), n(keys), d(columns) {
    q = random.normals(static_cast<std::size_t>(rows * d), q_size);
    k = random.normals(static_cast<std::size_t>(n * d), k_size);
  }
  float& key(int j, int c) { return k[static_cast<std::size_t>(j * d + c)]; }
  float& query(int i, int c) { return q[static_cast<std::size_t>(i * d + c)]; }
  float score(int i, int j) const {
    float s = 0.0f;
    for (int c = 0; c < d; ++c) s = std::fma(q[static_cast<std::size_t>(i * d + c)], k[static_cast<std::size_t>(j * d + c)], s);
    return s;
  }
  std::vector<float> packed() const {
    std::vector<float> out(packed_size(n, d));
    pack_keys(k.data(), n, d, out.data());
    return out;
  }
};

/// Every kind of finite input that a bound may stumble over.
inline std::vector<Problem> adversaries(Random& random, int rows, int n, int d) {
  std::vector<Problem> all;
  auto const add = [&](char const* name, double q_size, double k_size, std::function<void(Problem&)> const& change) {
    all.emplace_back(name, random, rows, n, d, q_size, k_size);
    change(all.back());
  };
  auto const each_key = [](std::function<void(Problem&, int)> const& change) {
    return [change](Problem& p) {
      for (int j = 0; j < p.n; ++j) change(p, j);
    };
  };
  add("normal", 1, 1, [](Problem&) {});
  add("integers", 1, 1, [](Problem& p) {
    for (auto& x : p.q) x = std::round(x);
    for (auto& x : p.k) x = std::round(x);
  });
  add("huge coordinates", 1, 1, each_key([&](Problem& p, int j) {
        if (random.integer(0, 20) == 0) p.key(j, static_cast<int>(random.integer(0, p.d - 1))) = j % 2 == 0 ? 1e30f : -1e30f;
      }));
  add("norms overflow", 1, 1, each_key([&](Problem& p, int j) {
        if (random.integer(0, 40) == 0) p.key(j, static_cast<int>(random.integer(0, p.d - 1))) = 3.4e38f;
      }));
  add("scores overflow", 1e30, 1e8, each_key([&](Problem& p, int j) {
        if (random.integer(0, 40) == 0) p.key(j, 0) = 1e20f;
      }));
  add("denormal keys", 1, 1e-40, [](Problem&) {});
  add("denormal queries", 1e-41, 1, [](Problem&) {});
  add("denormal products", 1e-20, 1e-20, [](Problem&) {});
  add("products that vanish", 1e-30, 1e-25, [](Problem&) {});
  add("tiny and huge", 1e-38, 1e38, [](Problem&) {});
  add("equal keys", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(0, c);
      }));
  add("two values", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(j % 2, c);
      }));
  add("neighbours", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.key(0, c) * (1.0f + static_cast<float>(j * 7 % 13) * 0x1p-23f);
      }));
  add("zero keys", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d && j % 3 != 0; ++c) p.key(j, c) = 0.0f;
      }));
  add("all zero", 0, 0, [](Problem&) {});
  add("zero queries", 1, 1, [](Problem& p) {
    for (int i = 0; i < p.rows; i += 2) {
      for (int c = 0; c < p.d; ++c) p.query(i, c) = 0.0f;
    }
  });
  add("ascending", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c < p.d; ++c) p.key(j, c) = p.query(0, c) * static_cast<float>(j);
      }));
  add("uneven norms", 1, 1, each_key([&](Problem& p, int j) {
        auto const size = static_cast<float>(std::exp2(20.0 * random.normal()));
        for (int c = 0; c < p.d; ++c) p.key(j, c) *= size;
      }));
  add("cancelling", 1, 1, each_key([](Problem& p, int j) {
        for (int c = 0; c + 1 < p.d; c += 2) {
          p.key(j, c) *= 1e6f;
          p.key(j, c + 1) = -p.key(j, c);
        }
        for (int i = 0; i < p.rows && j == 0; ++i) {
          for (int c = 0; c + 1 < p.d; c += 2) p.query(i, c + 1) = p.query(i, c);
        }
      }));
  return all;
}

/// One problem quantised, and what the screen says about it.
struct Screen {
  std::vector<float> packed;
  std::vector<std::uint8_t> values;
  std::vector<KeyGroupBound> bounds;
  PackedQueries queries;
  QuantisedQueries quantised;

  explicit Screen(Problem const& p, GroupLayout layout = GroupLayout::by_columns)
      : packed(p.packed()),
        values(quantised_size(p.n, p.d)),
        bounds(quantised_groups(p.n)),
        queries(p.q.data(), p.rows, p.d),
        quantised(queries, simd::screen_levels()) {
    quantise_keys(Kokkos::DefaultHostExecutionSpace(), packed.data(), p.n, p.d, layout, values.data(), bounds.data());
    Kokkos::DefaultHostExecutionSpace().fence();
  }
  QuantisedKeys keys() const { return {values.data(), bounds.data()}; }
  /// Whether key j passes for row r of panel p at the thresholds that are set.
  bool passes(std::size_t panel, int row, int j) const {
    int const rows = queries.panels[panel].rows, g = j / key_group;
    auto const group = keys().from(g, queries.d);
    alignas(64) std::int32_t start[QuantisedQueries::panel_lanes];
    RowKeyPair passed[simd::panel_pairs];
    simd::start_sums(quantised.panels[panel], *group.bounds, quantised.reach, group.bounds->largest_norm <= quantised.largest_norm, start);
    auto const* end =
        simd::screen_panel_of(rows)(quantised.bytes.data() + quantised.offset[panel], group.values, quantised.steps, start, 0, passed);
    bool found = false;
    for (auto const* at = passed; at != end; ++at) {
      found = found || (row_of(*at) == row && key_of(*at) == j % key_group);
      // Each pair once, a row's keys ascending.
      for (auto const* before = passed; before != at; ++before) EXPECT_TRUE(row_of(*before) != row_of(*at) || *before < *at);
    }
    return found;
  }
};

}  // namespace asymptop::test
