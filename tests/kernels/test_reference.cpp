// The frozen references against rows whose every metric is known in closed form.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/reference/attention_row.hpp"

namespace asymptop {
namespace {

using reference::order;
using reference::softmax;

TEST(Reference, LogitsAreScaledDotProducts) {
  EXPECT_EQ(reference::logits({1.0f, -2.0f}, {3.0f, 4.0f, 5.0f, 6.0f, 0.5f, 0.0f}, 3, 2, 0.5), (std::vector<double>{-2.5, -3.5, 0.25}));
}

TEST(Reference, OrderIsByScoreThenIndex) {
  EXPECT_EQ(order({1.0, 2.0, 1.0, -1.0, 2.0}), (std::vector<std::int64_t>{1, 4, 0, 2, 3}));
  EXPECT_EQ(order({-0.0, 0.0, -0.0}), (std::vector<std::int64_t>{0, 1, 2}));
}

TEST(Reference, UniformRow) {
  for (std::int64_t const n : {1, 2, 7, 100}) {
    auto const size = static_cast<std::size_t>(n);
    double const N = static_cast<double>(n);
    std::vector<double> const logits(size, -3.25);
    auto const p = softmax(logits);
    for (auto const x : p) EXPECT_DOUBLE_EQ(x, 1.0 / N);
    auto const profile = reference::profile(logits);
    EXPECT_NEAR(profile.log_sum_exp, -3.25 + std::log(N), 1e-14);
    EXPECT_NEAR(profile.entropy_nats, std::log(N), 1e-13);
    EXPECT_NEAR(profile.sum_p_squared, 1.0 / N, 1e-15);
    EXPECT_NEAR(profile.p_max, 1.0 / N, 1e-15);
    // Values: 1 for key 0 alone, so exact attention is 1/n and top-k attention 1/k.
    std::vector<float> values(size, 0.0f);
    values[0] = 1.0f;
    for (std::int64_t k = 1; k <= n; k = k < 5 ? k + 1 : 2 * k) {
      double const K = static_cast<double>(k), tail = 1.0 - K / N;
      auto const errors = reference::errors(p, order(logits), k, values, 1);
      EXPECT_NEAR(errors.tail_mass, tail, 1e-13) << n << " " << k;
      EXPECT_NEAR(errors.row_l2_error, std::sqrt((N - K) / (N * K)), 1e-13) << n << " " << k;
      EXPECT_NEAR(errors.row_linf_error, k == n ? 0.0 : std::max(1.0 / K - 1.0 / N, 1.0 / N), 1e-13) << n << " " << k;
      EXPECT_NEAR(errors.output_error, 1.0 / K - 1.0 / N, 1e-13) << n << " " << k;
      EXPECT_NEAR(errors.output_error_relative, N / K - 1.0, 1e-11) << n << " " << k;
    }
  }
  auto const p = softmax(std::vector<double>(64, 0.0));  // 1/64 is exact, so thresholds fall on the very edge
  EXPECT_EQ(reference::k_epsilon(p, order(p), 0.25), 48);
  EXPECT_EQ(reference::k_epsilon(p, order(p), 0.25 - 1e-12), 49);
  EXPECT_EQ(reference::k_epsilon(p, order(p), 0.999), 1);
}

TEST(Reference, OneHotRow) {
  double const minus_infinity = -std::numeric_limits<double>::infinity();
  std::vector<double> const logits{minus_infinity, minus_infinity, 5.0, minus_infinity};
  auto const p = softmax(logits);
  EXPECT_EQ(p, (std::vector<double>{0.0, 0.0, 1.0, 0.0}));
  auto const profile = reference::profile(logits);
  EXPECT_EQ(profile.log_sum_exp, 5.0);
  EXPECT_EQ(profile.entropy_nats, 0.0);
  EXPECT_EQ(profile.sum_p_squared, 1.0);
  EXPECT_EQ(profile.p_max, 1.0);
  auto const errors = reference::errors(p, order(logits), 1, {9.0f, 9.0f, 3.0f, 9.0f, 9.0f, 9.0f, 4.0f, 9.0f}, 2);
  EXPECT_EQ(errors.tail_mass, 0.0);
  EXPECT_EQ(errors.row_l2_error, 0.0);
  EXPECT_EQ(errors.row_linf_error, 0.0);
  EXPECT_EQ(errors.output_error, 0.0);
  EXPECT_EQ(reference::k_epsilon(p, order(logits), 0.01), 1);
  EXPECT_EQ(reference::attention(p, {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f, 8.0f}, 2), (std::vector<double>{5.0, 6.0}));
}

TEST(Reference, TwoLevelRow) {
  // Four keys of weight 3 and eight of weight 1: Z = 20.
  std::vector<double> logits(12, 0.0);
  for (std::size_t j = 0; j < 4; ++j) logits[3 * j] = std::log(3.0);
  auto const p = softmax(logits);
  auto const by_rank = order(logits);
  std::vector<float> const values(12, 2.0f);  // all values alike: no selection can change the output
  auto const errors = reference::errors(p, by_rank, 4, values, 1);
  EXPECT_NEAR(errors.tail_mass, 0.4, 1e-15);
  EXPECT_NEAR(errors.row_l2_error, std::sqrt(4.0 * 0.1 * 0.1 + 8.0 * 0.05 * 0.05), 1e-15);
  EXPECT_NEAR(errors.row_linf_error, 0.1, 1e-15);
  EXPECT_NEAR(errors.output_error, 0.0, 1e-15);
  auto const p_hat = reference::top_k_softmax(p, by_rank, 6);  // the four and the first two of the eight
  std::vector<double> expected(12, 0.0);
  for (std::size_t j = 0; j < 4; ++j) expected[3 * j] = 3.0 / 14.0;
  expected[1] = expected[2] = 1.0 / 14.0;
  for (std::size_t j = 0; j < 12; ++j) EXPECT_NEAR(p_hat[j], expected[j], 1e-15) << j;
  EXPECT_EQ(reference::k_epsilon(p, by_rank, 0.401), 4);
  EXPECT_EQ(reference::k_epsilon(p, by_rank, 0.399), 5);
  auto const profile = reference::profile(logits);
  EXPECT_NEAR(profile.log_sum_exp, std::log(20.0), 1e-14);
  EXPECT_NEAR(profile.sum_p_squared, (4.0 * 9.0 + 8.0) / 400.0, 1e-15);
  EXPECT_NEAR(profile.p_max, 0.15, 1e-15);
  EXPECT_NEAR(profile.entropy_nats, std::log(20.0) - 0.6 * std::log(3.0), 1e-14);
}

TEST(Reference, HugeLogitsDoNotOverflow) {
  auto const p = softmax({1000.0, 999.0});
  EXPECT_NEAR(p[0], 1.0 / (1.0 + std::exp(-1.0)), 1e-15);
  EXPECT_NEAR(reference::profile({1000.0, 999.0}).log_sum_exp, 1000.0 + std::log1p(std::exp(-1.0)), 1e-12);
}

}  // namespace
}  // namespace asymptop
