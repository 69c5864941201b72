// Simulated rows: variates against their laws, drawn ranks against the laws of order statistics, blocks against keys drawn one by one,
// every metric of an exact row against its definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/beta.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/reference/attention_row.hpp"
#include "study/simulate/order_statistics.hpp"
#include "study/simulate/simulated_row.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;

RowStream stream_of(std::int64_t n, std::int64_t draw, std::int64_t row = 0) { return RowStream({test::test_seed(), n, 64, draw, row}); }

/// Kolmogorov's distance of a sample from the uniform law, times sqrt(count): over 2.2 once in 10^4 samples.
double kolmogorov(std::vector<double> sample) {
  std::sort(sample.begin(), sample.end());
  double worst = 0.0;
  double const count = static_cast<double>(sample.size());
  for (std::size_t i = 0; i < sample.size(); ++i)
    worst = std::max({worst, static_cast<double>(i + 1) / count - sample[i], sample[i] - static_cast<double>(i) / count});
  return worst * std::sqrt(count);
}

constexpr double kolmogorov_limit = 2.5;

/// Of a sample.
struct Moments {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  double count() const { return static_cast<double>(values.size()); }
  double mean() const { return std::accumulate(values.begin(), values.end(), 0.0) / count(); }
  double central(int power) const {
    double sum = 0.0;
    double const middle = mean();
    for (double const value : values) sum += std::pow(value - middle, power);
    return sum / count();
  }
  double error() const { return std::sqrt(central(2) / (count() - 1.0)); }
  double kurtosis() const { return central(4) / (central(2) * central(2)); }
  /// Standard error of the variance relative to it.
  double spread_error() const { return std::sqrt((kurtosis() - 1.0) / count()); }
};

double upper_tail(double z) { return std::erfc(z / std::sqrt(2.0)) / 2.0; }

TEST(RowStream, TheSameForTheSameNameOnly) {
  RowName const name{7, std::int64_t{1} << 60, 64, 3, 5};
  RowStream a(name), b(name);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.normal(), b.normal());
  std::vector<double> first;
  for (auto const& other : {name, RowName{8, name.n, 64, 3, 5}, RowName{7, name.n + 1, 64, 3, 5}, RowName{7, name.n, 65, 3, 5},
                            RowName{7, name.n, 64, 4, 5}, RowName{7, name.n, 64, 3, 6}, RowName{7, name.n, 64, 5, 3}})
    first.push_back(RowStream(other).uniform());
  std::sort(first.begin(), first.end());
  EXPECT_EQ(std::adjacent_find(first.begin(), first.end()), first.end());
}

TEST(RowStream, GammaFollowsItsLaw) {
  Random random(12);
  for (double const shape : {1e-3, 0.1, 0.5, 1.0, 1.5, 3.7, 40.0, 1e4, 1e8}) {
    auto stream = stream_of(1, static_cast<std::int64_t>(shape * 1000.0));
    std::vector<double> sample;
    // Near 0 much of the law is below the smallest double: half of it at shape 0.001.
    double const zero = 1e-300, below = std::pow(zero, shape) / std::tgamma(shape + 1.0);
    for (int i = 0; i < 5000; ++i) {
      double const x = stream.gamma(shape);
      sample.push_back(x > zero ? boost::math::gamma_p(shape, x) : below * random.uniform(0.0, 1.0));
    }
    EXPECT_LT(kolmogorov(sample), kolmogorov_limit) << shape;
  }
}

TEST(RowStream, GammaOfAstronomicShapes) {
  for (double const shape : {1e12, std::ldexp(1.0, 60), std::ldexp(1.0, 62)}) {
    auto stream = stream_of(2, static_cast<std::int64_t>(shape));
    std::vector<double> sample;
    for (int i = 0; i < 20000; ++i) sample.push_back(1.0 - upper_tail((stream.gamma(shape) - shape) / std::sqrt(shape)));
    EXPECT_LT(kolmogorov(sample), kolmogorov_limit) << shape;
  }
}

TEST(DrawnRanks, HoldEveryKAndFillSmallGaps) {
  Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    std::int64_t const n = trial < 100 ? random.integer(1, 20000) : random.integer(1, std::int64_t{1} << 62);
    std::vector<std::int64_t> k{1, n};
    for (int i = 0; i < 5; ++i)
      k.push_back(std::clamp<std::int64_t>(std::llround(std::exp(random.uniform(0.0, std::log(static_cast<double>(n))))), 1, n));
    for (int i = 0; i < 2; ++i) k.push_back(std::max<std::int64_t>(1, n - random.integer(0, 600)));
    std::sort(k.begin(), k.end());
    k.erase(std::unique(k.begin(), k.end()), k.end());
    Resolution const resolution{random.integer(1, 5000), random.uniform(0.5, 16.0), random.integer(1, 400)};
    auto const ranks = drawn_ranks(n, k, resolution);
    ASSERT_EQ(ranks.rank.front(), 1);
    ASSERT_LE(ranks.rank.back(), n);
    std::int64_t keys = static_cast<std::int64_t>(ranks.rank.size());
    for (std::size_t i = 0; i < ranks.rank.size(); ++i) {
      ASSERT_GE(ranks.block(i), 0);
      if (ranks.block(i) > 0) {
        ASSERT_GE(ranks.block(i), resolution.smallest_block);
      }
      keys += ranks.block(i);
      if (i < static_cast<std::size_t>(std::min(resolution.head, n))) {
        ASSERT_EQ(ranks.rank[i], static_cast<std::int64_t>(i) + 1);
      }
    }
    EXPECT_EQ(keys, n);
    for (std::size_t i = 0; i < k.size(); ++i) {
      auto const place = ranks.place_of_k[i];
      ASSERT_EQ(ranks.rank[place], k[i]);
      if (k[i] < n) {
        EXPECT_EQ(ranks.rank[place + 1], k[i] + 1) << "the entry after k is drawn";
      }
    }
  }
}

TEST(OrderStatistics, FollowTheLawsOfUniformOnes) {
  struct Size {
    std::int64_t n;
    Resolution resolution;
    int rows;
  };
  for (auto const& size : {Size{3000, {}, 300}, Size{1 << 16, {64, 4.0, 8}, 1500}, Size{std::int64_t{1} << 40, {64, 4.0, 8}, 1500},
                           Size{std::int64_t{1} << 62, {32, 2.0, 8}, 1500}}) {
    std::vector<std::int64_t> const k{1, 2, 30, size.n / 3, size.n - size.n / 50, size.n - 1, size.n};
    auto const ranks = drawn_ranks(size.n, k, size.resolution);
    std::vector<std::vector<double>> sample(k.size());
    for (int row = 0; row < size.rows; ++row) {
      auto stream = stream_of(size.n, 5, row);
      auto const statistics = draw_order_statistics(ranks, stream);
      ASSERT_TRUE(std::is_sorted(statistics.z.rbegin(), statistics.z.rend()));
      for (std::size_t i = 0; i < k.size(); ++i) {
        double const z = statistics.z[ranks.place_of_k[i]], rank = static_cast<double>(k[i]), left = static_cast<double>(size.n - k[i] + 1);
        // Far below its expected tail nothing is lost: both tails of the score are used, and where its law is narrower than the digits of
        // Q, its normal limit.
        double const spread = std::sqrt(rank * left) / static_cast<double>(size.n);
        double const mean = rank / (rank + left);
        if (std::min(rank, left) > 1e7) {
          double const q = mean < 0.5 ? upper_tail(z) : 1.0 - upper_tail(-z);
          sample[i].push_back(1.0 - upper_tail((q - mean) / spread * std::sqrt(static_cast<double>(size.n))));
        } else if (rank <= left) {
          sample[i].push_back(boost::math::cdf(boost::math::beta_distribution<double>(rank, left), upper_tail(z)));
        } else {
          sample[i].push_back(boost::math::cdf(boost::math::beta_distribution<double>(left, rank), upper_tail(-z)));
        }
      }
    }
    for (std::size_t i = 0; i < k.size(); ++i) {
      // At 2^62 the spread of a middle rank, 2^-32, is far above the digits of Q.
      EXPECT_LT(kolmogorov(sample[i]), kolmogorov_limit) << "n = " << size.n << ", k = " << k[i];
    }
  }
}

TEST(NormalPart, MeansAndMassAgainstClosedForms) {
  struct Ends {
    double high, low;
  };
  for (auto const& ends : {Ends{8.9, 8.89}, Ends{3.0, 2.9}, Ends{1.0, -1.0}, Ends{0.5, 0.4}, Ends{-1.38, -INFINITY}, Ends{2.0, -INFINITY},
                           Ends{-8.8, -INFINITY}, Ends{-1.0, -8.0}, Ends{0.3, 0.3}}) {
    for (double const sigma : {0.0, 0.5, 2.0, 10.0, 40.0}) {
      auto const part = normal_part(ends.high, ends.low);
      double mean = 0.0;
      for (std::size_t j = 0; j < part.nodes.z.size(); ++j) mean += part.nodes.weight[j] * std::exp(sigma * (part.nodes.z[j] - ends.high));
      if (ends.high == ends.low) {
        EXPECT_DOUBLE_EQ(mean, 1.0);
        continue;
      }
      // The integral of phi(z) e^{sigma z}: e^{sigma^2 / 2} times a normal probability about sigma.
      auto const probability = [](double high, double low) {
        auto const l = [](double x) { return std::erfc(static_cast<long double>(x) / std::sqrt(2.0L)) / 2.0L; };
        return low >= 0.0 ? l(low) - l(high) : high <= 0.0 ? l(-high) - l(-low) : 1.0L - l(high) - l(-low);
      };
      auto const mass = probability(ends.high, ends.low), shifted = probability(ends.high - sigma, ends.low - sigma);
      double const s = sigma,
                   expected = static_cast<double>(shifted / mass * std::exp(static_cast<long double>(s * s / 2.0 - s * ends.high)));
      EXPECT_NEAR(mean / expected, 1.0, 2e-9) << ends.high << " to " << ends.low << ", sigma " << sigma;
      EXPECT_NEAR(part.log_mass - std::log(2.0 * 3.14159265358979323846) / 2.0, static_cast<double>(std::log(mass)), 1e-10);
    }
  }
}

TEST(Blocks, HaveTheMeansAndCovariancesOfTheirKeys) {
  // One block of 300 keys between fixed ends, over and over: nodes against keys thrown one by one.
  double const high = 1.2, low = 0.7, sigma = 3.0;
  constexpr int keys = 300, trials = 40000;
  Random random(21);
  std::vector<std::function<double(double)>> const f{
      [](double z) { return z; }, [](double z) { return z * z; }, [&](double z) { return std::exp(sigma * z); },
      [&](double z) { return std::exp(2.0 * sigma * z); }, [&](double z) { return z * std::exp(sigma * z); }};
  // Population moments by a fine sum.
  std::vector<double> mean(f.size(), 0.0);
  std::vector<std::vector<double>> covariance(f.size(), std::vector<double>(f.size(), 0.0));
  auto const integrate = [&](std::function<double(double)> const& g) {
    double sum = 0.0, mass = 0.0;
    for (int i = 0; i < 20000; ++i) {
      double const z = low + (high - low) * (i + 0.5) / 20000.0, weight = std::exp(-z * z / 2.0);
      sum += weight * g(z);
      mass += weight;
    }
    return sum / mass;
  };
  for (std::size_t a = 0; a < f.size(); ++a) mean[a] = integrate(f[a]);
  for (std::size_t a = 0; a < f.size(); ++a) {
    for (std::size_t b = 0; b < f.size(); ++b)
      covariance[a][b] = integrate([&](double z) { return (f[a](z) - mean[a]) * (f[b](z) - mean[b]); });
  }
  auto const part = normal_part(high, low);
  auto stream = stream_of(3, 3);
  std::vector<std::vector<double>> sums;
  for (int t = 0; t < trials; ++t) {
    std::vector<double> counts;
    double total = 0.0;
    for (auto const share : part.nodes.weight) counts.push_back(stream.gamma((keys - 1) * share)), total += counts.back();
    auto& row = sums.emplace_back(f.size(), 0.0);
    for (std::size_t j = 0; j < counts.size(); ++j) {
      for (std::size_t a = 0; a < f.size(); ++a) row[a] += keys * counts[j] / total * f[a](part.nodes.z[j]);
    }
  }
  for (std::size_t a = 0; a < f.size(); ++a) {
    Moments moments;
    for (auto const& row : sums) moments.add(row[a]);
    EXPECT_NEAR(moments.mean(), keys * mean[a], 5.0 * moments.error()) << a;
    for (std::size_t b = 0; b < f.size(); ++b) {
      Moments products;
      for (auto const& row : sums) products.add((row[a] - keys * mean[a]) * (row[b] - keys * mean[b]));
      EXPECT_NEAR(products.mean(), keys * covariance[a][b], 5.0 * products.error()) << a << ", " << b;
    }
  }
}

/// Every number of a row in one list, named.
std::vector<std::pair<std::string, double>> numbers_of(RowMetrics const& metrics, MetricAxes const& axes, bool logarithms) {
  std::vector<std::pair<std::string, double>> numbers{{"entropy_nats", metrics.one("entropy_nats")},
                                                      {"sum_p_squared", metrics.one("sum_p_squared")},
                                                      {"p_max", metrics.one("p_max")},
                                                      {"participation_ratio", metrics.one("participation_ratio")},
                                                      {"log_sum_exp", metrics.one("log_sum_exp")},
                                                      {"logit_max", metrics.one("logit_max")},
                                                      {"logit_mean", metrics.one("logit_mean")},
                                                      {"logit_std", metrics.one("logit_std")}};
  for (std::size_t j = 0; j < axes.k.size(); ++j) {
    auto const at = "(" + std::to_string(axes.k[j]) + ")";
    // Logarithms where sigma is large: e^s of so few keys has no mean that rows would find.
    auto const add = [&](char const* name, double value) {
      numbers.emplace_back(name + at, logarithms && value > 0.0 ? std::log(value) : value);
    };
    add("tail_mass", metrics.real("tail_mass")[j]);
    add("row_l2_error", metrics.real("row_l2_error")[j]);
    add("row_linf_error", metrics.real("row_linf_error")[j]);
  }
  for (std::size_t j = 0; j < metrics.count("k_epsilon").size(); ++j)
    numbers.emplace_back("k_epsilon " + std::to_string(j), static_cast<double>(metrics.count("k_epsilon")[j]));
  for (std::size_t j = 0; j < metrics.count("count_p_above").size(); ++j)
    numbers.emplace_back("count_p_above " + std::to_string(j), static_cast<double>(metrics.count("count_p_above")[j]));
  return numbers;
}

TEST(SimulatedRow, WithoutBlocksEqualsTheDefinitions) {
  Random random(31);
  for (std::int64_t const n : {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, std::int64_t{50}, std::int64_t{700}}) {
    for (double const sigma : {1e-6, 0.7, 3.0, 20.0, 900.0}) {
      std::vector<std::int64_t> k{1, (n + 2) / 3, std::max<std::int64_t>(1, n - 1), n};
      std::sort(k.begin(), k.end());
      k.erase(std::unique(k.begin(), k.end()), k.end());
      auto const ranks = drawn_ranks(n, k);
      auto stream = stream_of(n, random.integer(0, 1 << 20));
      auto const row = draw_order_statistics(ranks, stream);
      ASSERT_TRUE(row.nodes.z.empty());
      MetricAxes const axes{k, {}, {0.5, 0.1, 1e-3}};
      std::vector<double> const thresholds{1.0 / static_cast<double>(n), 0.2, 1e-4};
      auto const metrics = evaluate_simulated_row(row, ranks, sigma, axes, thresholds);
      std::vector<double> logits;
      for (double const z : row.z) logits.push_back(sigma * z);
      auto const p = reference::softmax(logits);
      auto const order = reference::order(logits);
      auto const profile = reference::profile(logits);
      EXPECT_NEAR(metrics.one("log_sum_exp"), profile.log_sum_exp, 1e-12 * (1.0 + std::fabs(profile.log_sum_exp)));
      EXPECT_NEAR(metrics.one("entropy_nats"), profile.entropy_nats, 1e-11);
      EXPECT_NEAR(metrics.one("sum_p_squared") / profile.sum_p_squared, 1.0, 1e-12);
      EXPECT_NEAR(metrics.one("p_max") / profile.p_max, 1.0, 1e-12);
      // Tails as sums of themselves, which the reference's differences are not.
      std::vector<long double> tail(p.size() + 1, 0.0L), tail2(tail);
      long double sum = 0.0L;
      for (double const logit : logits) sum += std::exp(static_cast<long double>(logit) - static_cast<long double>(logits[0]));
      auto const exact = [&](std::size_t i) {
        return std::exp(static_cast<long double>(logits[i]) - static_cast<long double>(logits[0])) / sum;
      };
      for (auto i = p.size(); i-- > 0;) {
        tail[i] = tail[i + 1] + exact(i);
        tail2[i] = tail2[i + 1] + exact(i) * exact(i);
      }
      for (std::size_t j = 0; j < k.size(); ++j) {
        auto const at = static_cast<std::size_t>(k[j]);
        auto const gain = tail[at] / (1.0L - tail[at]);
        auto const l2 = std::sqrt(gain * gain * (tail2[0] - tail2[at]) + tail2[at]);
        auto const linf = std::max(gain * exact(0), at < p.size() ? exact(at) : 0.0L);
        auto const near = [&](double value, long double expected) {
          EXPECT_NEAR(value, static_cast<double>(expected), 1e-12 * static_cast<double>(expected) + 1e-290)
              << n << " " << sigma << " " << k[j];
        };
        near(metrics.real("tail_mass")[j], tail[at]);
        if (l2 > 1e-150L || l2 < 1e-290L) {
          near(metrics.real("row_l2_error")[j], l2);
        } else {  // squares vanish
          EXPECT_NEAR(metrics.real("row_l2_error")[j] / static_cast<double>(l2), 1.0, 0.3);
        }
        near(metrics.real("row_linf_error")[j], linf);
        if (k[j] == n) {
          EXPECT_EQ(metrics.real("tail_mass")[j] + metrics.real("row_l2_error")[j] + metrics.real("row_linf_error")[j], 0.0);
        }
      }
      for (std::size_t j = 0; j < axes.epsilon.size(); ++j)
        EXPECT_EQ(metrics.count("k_epsilon")[j], reference::k_epsilon(p, order, axes.epsilon[j]));
      for (std::size_t j = 0; j < thresholds.size(); ++j) {
        if (n == 1 || (n == 2 && j == 0)) continue;  // p at the threshold itself: rounding decides
        EXPECT_EQ(metrics.count("count_p_above")[j], std::count_if(p.begin(), p.end(), [&](double x) { return x > thresholds[j]; }))
            << n << " " << sigma;
      }
      double mean = 0.0, variance = 0.0;
      for (double const logit : logits) mean += logit / static_cast<double>(n);
      for (double const logit : logits) variance += (logit - mean) * (logit - mean) / static_cast<double>(n);
      EXPECT_NEAR(metrics.one("logit_mean"), mean, 1e-12 * sigma);
      EXPECT_NEAR(metrics.one("logit_std"), std::sqrt(variance), 1e-7 * sigma);
      CheckResiduals checks;
      check_simulated_row(row, ranks, sigma, axes, metrics, checks);
      for (std::size_t i = 0; i < check_names.size(); ++i) EXPECT_LE(checks.worst[i], 1e-9) << check_names[i];
    }
  }
}

/// All numbers of many rows, as moments.
std::vector<std::pair<std::string, Moments>> many_rows(std::int64_t n, Resolution const& resolution, double sigma, MetricAxes const& axes,
                                                       std::vector<double> const& thresholds, std::int64_t draw, int rows) {
  auto const ranks = drawn_ranks(n, axes.k, resolution);
  std::vector<std::pair<std::string, Moments>> all;
  for (int row = 0; row < rows; ++row) {
    auto stream = stream_of(n, draw, row);
    auto const statistics = draw_order_statistics(ranks, stream);
    auto const metrics = evaluate_simulated_row(statistics, ranks, sigma, axes, thresholds);
    CheckResiduals checks;
    check_simulated_row(statistics, ranks, sigma, axes, metrics, checks);
    auto const tolerance = check_tolerances(64, std::fabs(metrics.one("logit_max")) * 2.0, planned_bin_width);
    for (std::size_t i = 0; i < check_names.size(); ++i) EXPECT_LE(checks.worst[i], tolerance[i]) << check_names[i] << " sigma " << sigma;
    auto const numbers = numbers_of(metrics, axes, sigma > 5.0);
    all.resize(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      all[i].first = numbers[i].first;
      all[i].second.add(numbers[i].second);
    }
  }
  return all;
}

TEST(SimulatedRow, BlocksAgreeWithKeysOneByOne) {
  constexpr std::int64_t n = 4096;
  constexpr int rows = 1000;
  std::vector<double> far;
  int cells = 0, spreads = 0;
  for (double const sigma : {0.5, 1.0, 2.0, std::log(4096.0), 60.0}) {
    MetricAxes const axes{{1, 16, 64, 100, 400, 1000, 3000, 4000, 4095, 4096}, {}, {0.3, 0.1, 0.01}};
    std::vector<double> const thresholds{1.0 / 4096.0, 1e-4, 1e-3};
    auto const exact = many_rows(n, {}, sigma, axes, thresholds, 1, rows);
    auto const blocks = many_rows(n, {32, 2.0, 24}, sigma, axes, thresholds, 2, rows);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      auto const &a = exact[i].second, &b = blocks[i].second;
      if (a.mean() == b.mean()) continue;
      double const deviation = std::fabs(a.mean() - b.mean()) / std::hypot(a.error(), b.error());
      ++cells;
      EXPECT_LT(deviation, 6.0) << exact[i].first << " at sigma " << sigma << ": " << a.mean() << " and " << b.mean();
      if (deviation > 4.0) far.push_back(deviation);
      // The spread over rows too: that is what standard errors are made of. Only where the sample's own says how well it is known.
      if (a.error() > 0.0 && a.kurtosis() < 10.0 && b.kurtosis() < 10.0) {
        double const ratio = std::log(b.central(2) / a.central(2)), error = std::hypot(a.spread_error(), b.spread_error());
        ++spreads;
        EXPECT_LT(std::fabs(ratio) / error, 6.0) << exact[i].first << " at sigma " << sigma;
      }
    }
  }
  EXPECT_GT(spreads, 100);
  EXPECT_GT(cells, 150);
  EXPECT_LE(static_cast<double>(far.size()), 0.01 * cells);
}

TEST(SimulatedRow, ChecksNoticeDamage) {
  constexpr std::int64_t n = 1 << 20;
  MetricAxes const axes{{64, 1 << 10, 1 << 15}, {}, {0.1}};
  auto const ranks = drawn_ranks(n, axes.k);
  auto stream = stream_of(n, 9);
  auto const good = draw_order_statistics(ranks, stream);
  auto const worst = [&](OrderStatistics const& row, RowMetrics const& metrics, Check check) {
    CheckResiduals checks;
    check_simulated_row(row, ranks, 1.0, axes, metrics, checks);
    return checks.worst[static_cast<std::size_t>(check)];
  };
  auto const metrics = evaluate_simulated_row(good, ranks, 1.0, axes, {});
  EXPECT_EQ(worst(good, metrics, Check::keys_seen), 0.0);
  auto lost = good;
  lost.nodes.weight[50] *= 2.0;
  EXPECT_GT(worst(lost, metrics, Check::keys_seen), 0.0);
  auto swapped = good;
  std::swap(swapped.z[10], swapped.z[20]);
  EXPECT_GT(worst(swapped, metrics, Check::score_range), 0.0);
  auto wrong = metrics;
  wrong.count("k_epsilon")[0] /= 2;
  EXPECT_GT(worst(good, wrong, Check::quantiles_settled), 0.0);
  std::swap(wrong.real("tail_mass")[0], wrong.real("tail_mass")[2]);
  EXPECT_GT(worst(good, wrong, Check::top_k_count), 0.0);
}

TEST(Quadrature, DoublingItsNodesChangesNothing) {
  for (std::int64_t const n : {std::int64_t{5000}, std::int64_t{1} << 16, std::int64_t{1} << 30, std::int64_t{1} << 60}) {
    auto const ranks = drawn_ranks(n, {64, n / 2, n - 1});
    auto stream = stream_of(n, 4);
    auto const row = draw_order_statistics(ranks, stream);
    double const log_n = std::log(static_cast<double>(n));
    for (double const sigma : {0.5, 1.0, std::sqrt(2.0 * log_n), log_n})
      EXPECT_LT(quadrature_residual(row, ranks, sigma), 1e-9) << n << " " << sigma;
    for (double const sigma : {100.0, 300.0, 1000.0, 1e5}) EXPECT_LT(quadrature_residual(row, ranks, sigma), 1e-5) << n << " " << sigma;
  }
}

TEST(SimulatedRow, MeetsTheLawOfLargeNumbersAtTwoToTheSixty) {
  std::int64_t const n = std::int64_t{1} << 60;
  MetricAxes const axes{{1 << 20, std::int64_t{1} << 45, std::int64_t{1} << 55, n / 4}, {}, {0.5, 0.1}};
  double const tiny = 1.0 / static_cast<double>(n);
  auto const rows = many_rows(n, {}, 2.0, axes, {tiny}, 3, 40);
  auto const mean = [&](std::string const& name) {
    for (auto const& [other, moments] : rows) {
      if (other == name) return moments.mean();
    }
    ADD_FAILURE() << name;
    return 0.0;
  };
  boost::math::normal_distribution<double> const normal;
  for (auto const k : axes.k) {
    double const z = boost::math::quantile(boost::math::complement(normal, static_cast<double>(k) * tiny));
    double const tau = boost::math::cdf(normal, z - 2.0);
    EXPECT_NEAR(mean("tail_mass(" + std::to_string(k) + ")"), tau, 1e-5 * tau + 1e-6) << k;
  }
  // log n + sigma^2 / 2, log n - sigma^2 / 2, and p > 1/n where z > sigma / 2.
  double const log_n = std::log(static_cast<double>(n));
  EXPECT_NEAR(mean("log_sum_exp"), log_n + 2.0, 1e-5);
  EXPECT_NEAR(mean("entropy_nats"), log_n - 2.0, 1e-5);
  EXPECT_NEAR(mean("participation_ratio") / static_cast<double>(n) * std::exp(4.0), 1.0, 1e-2);
  EXPECT_NEAR(mean("count_p_above 0") * tiny, upper_tail(1.0), 1e-6);
  for (std::size_t j = 0; j < 2; ++j) {
    double const epsilon = axes.epsilon[j], share = upper_tail(2.0 + boost::math::quantile(normal, epsilon));
    EXPECT_NEAR(mean("k_epsilon " + std::to_string(j)) * tiny, share, 1e-5 * share);
  }
  EXPECT_NEAR(mean("logit_std"), 2.0, 1e-7);
}

}  // namespace
}  // namespace asymptop
