// Every metric of a row, from a short head, bins and a second pass, against its definition summed over all keys.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/reference/attention_row.hpp"
#include "support/random.hpp"
#include "support/row_problem.hpp"

namespace asymptop {
namespace {

using test::Random;

/// Rounds that a study allows (most_rounds of src/study/batch_run.hpp).
constexpr int most_rounds = 24;

/// A row of softmax weights from the definitions, in extended precision: small tails are sums of themselves.
struct BruteRow {
  std::vector<long double> p;     ///< descending
  std::vector<long double> tail;  ///< tail[k]: sum of all but the k largest
  long double log_sum_exp = 0.0L, entropy = 0.0L, square = 0.0L, mean = 0.0L, variance = 0.0L;

  BruteRow(std::vector<float> scores, double sigma) {
    std::sort(scores.begin(), scores.end(), std::greater<>());
    auto const s = static_cast<long double>(sigma), top = static_cast<long double>(scores[0]), n = static_cast<long double>(scores.size());
    long double z = 0.0L;
    for (auto i = scores.size(); i-- > 0;) z += std::exp(s * (static_cast<long double>(scores[i]) - top));
    for (float const score : scores) p.push_back(std::exp(s * (static_cast<long double>(score) - top)) / z);
    tail.assign(p.size() + 1, 0.0L);
    for (auto i = p.size(); i-- > 0;) {
      tail[i] = tail[i + 1] + p[i];
      square += p[i] * p[i];
      if (p[i] > 0.0L) entropy -= p[i] * std::log(p[i]);
      mean += s * static_cast<long double>(scores[i]) / n;
    }
    for (float const score : scores) variance += std::pow(s * static_cast<long double>(score) - mean, 2.0L) / n;
    log_sum_exp = s * top + std::log(z);
  }

  /// Norms of p - p_hat, entry by entry.
  void errors(std::size_t k, double& l2, double& linf) const {
    long double sum = 0.0L, most = 0.0L;
    for (auto i = p.size(); i-- > 0;) {
      auto const difference = i < k ? p[i] * tail[k] / (1.0L - tail[k]) : p[i];
      sum += difference * difference;
      most = std::max(most, difference);
    }
    l2 = static_cast<double>(std::sqrt(sum));
    linf = static_cast<double>(most);
  }

  std::int64_t count_above(double threshold) const {
    return std::count_if(p.begin(), p.end(), [&](long double x) { return x > static_cast<long double>(threshold); });
  }
};

struct Study {
  std::vector<double> sigma;
  std::vector<std::int64_t> k;
  std::vector<double> epsilon{0.5, 0.1, 0.01, 1e-4};
  std::vector<double> thresholds;
  int ranks = 1;
};

double bins_per_unit(Study const& study) {
  double const largest = *std::max_element(study.sigma.begin(), study.sigma.end());
  return std::exp2(std::ceil(std::log2(std::max(32.0 * largest, 16.0))));
}

void expect_close(double value, long double reference, double relative, std::string const& what) {
  auto const expected = static_cast<double>(reference);
  EXPECT_LE(std::fabs(value - expected), relative * std::fabs(expected) + 1e-300) << what << ": " << value << " against " << expected;
}

/// What sums of binned exponentials and of their squares may err by, relative (profile/score_bins.hpp).
constexpr double sum_bound = 1.7e-6, square_bound = 5.6e-6;

/// Returns the rounds of second passes that were needed.
int expect_row(std::vector<float> const& scores, Study const& study, std::string const& name) {
  auto const n = static_cast<std::int64_t>(scores.size());
  auto const head = test::head_of(scores, study.k.back() + 1);
  auto const bins = test::bins_of(scores, bins_per_unit(study));
  MetricAxes const axes{study.k, study.sigma, study.epsilon};
  auto evaluation = evaluate_row(head, bins, axes, study.thresholds, n);
  EXPECT_EQ(evaluation.keys_seen, n) << name;
  EXPECT_TRUE(evaluation.in_range) << name;
  for (auto const residual : evaluation.sum_p) EXPECT_LT(residual, sum_bound) << name;
  for (auto const residual : evaluation.identity_kl) EXPECT_LT(residual, 1e-5) << name;
  int const rounds = test::settle_all(evaluation, scores, bins, axes, head.front().score, study.ranks, most_rounds);
  EXPECT_TRUE(evaluation.open.empty()) << name << ": " << evaluation.open.size() << " probes stay open";
  for (std::size_t law = 0; law < study.sigma.size(); ++law) {
    BruteRow const brute(scores, study.sigma[law]);
    auto const& m = evaluation.laws[law];
    auto const what = name + ", n " + std::to_string(n) + ", sigma " + std::to_string(study.sigma[law]);
    double const width = study.sigma[law] / bins_per_unit(study);
    // r is rounded by at most 2^-15 of a bin, r^2 by 2^-10; the mean's rounding enters the variance twice over the spread.
    double const r_error = std::ldexp(1.0, -15), spread = std::sqrt(static_cast<double>(brute.variance));
    EXPECT_NEAR(m.one("logit_mean"), static_cast<double>(brute.mean), width * 1.01 * r_error) << what;
    EXPECT_NEAR(m.one("logit_std") * m.one("logit_std"), static_cast<double>(brute.variance),
                width * width * 1.1 * std::ldexp(1.0, -10) + 2.0 * width * spread * r_error + 1e-9 * static_cast<double>(brute.variance))
        << what;
    EXPECT_DOUBLE_EQ(m.one("logit_max"), study.sigma[law] * static_cast<double>(head.front().score)) << what;
    EXPECT_NEAR(m.one("log_sum_exp"), static_cast<double>(brute.log_sum_exp), sum_bound) << what;
    EXPECT_NEAR(m.one("entropy_nats"), static_cast<double>(brute.entropy),
                2.0 * sum_bound * std::max(1.0, static_cast<double>(brute.entropy)))
        << what;
    expect_close(m.one("sum_p_squared"), brute.square, square_bound + 2.0 * sum_bound, what + ", sum_p_squared");
    expect_close(m.one("participation_ratio"), 1.0L / brute.square, square_bound + 2.0 * sum_bound, what + ", participation_ratio");
    expect_close(m.one("p_max"), brute.p[0], sum_bound, what + ", p_max");
    for (std::size_t i = 0; i < study.k.size(); ++i) {
      auto const k = static_cast<std::size_t>(std::min(study.k[i], n));
      double l2 = 0.0, linf = 0.0;
      brute.errors(k, l2, linf);
      auto const at = what + ", k " + std::to_string(k);
      expect_close(m.real("tail_mass")[i], brute.tail[k], 2.0 * sum_bound, at + ", tail_mass");
      expect_close(m.real("row_l2_error")[i], l2, 0.5 * square_bound + 2.0 * sum_bound, at + ", row_l2_error");
      expect_close(m.real("row_linf_error")[i], linf, 2.0 * sum_bound, at + ", row_linf_error");
    }
    for (std::size_t i = 0; i < study.epsilon.size(); ++i) {
      auto const k = m.count("k_epsilon")[i];
      auto const at = what + ", epsilon " + std::to_string(study.epsilon[i]) + ", k_epsilon " + std::to_string(k);
      EXPECT_TRUE(k >= 1 && k <= n) << at;
      if (k < 1 || k > n) continue;
      // The smallest k, but for what sums of binned exponentials may err by.
      auto const epsilon = static_cast<long double>(study.epsilon[i]);
      EXPECT_LE(brute.tail[static_cast<std::size_t>(k)], epsilon * (1.0L + 2.0L * sum_bound)) << at;
      EXPECT_GT(brute.tail[static_cast<std::size_t>(k - 1)], epsilon * (1.0L - 2.0L * sum_bound)) << at;
    }
    for (std::size_t i = 0; i < study.thresholds.size(); ++i) {
      auto const at = what + ", threshold " + std::to_string(study.thresholds[i]);
      EXPECT_GE(m.count("count_p_above")[i], brute.count_above(study.thresholds[i] * (1.0 + sum_bound))) << at;
      EXPECT_LE(m.count("count_p_above")[i], brute.count_above(study.thresholds[i] * (1.0 - sum_bound))) << at;
    }
  }
  return rounds;
}

std::vector<std::int64_t> k_grid(std::int64_t largest) {
  std::vector<std::int64_t> ks;
  for (double k = 1.0; k < static_cast<double>(largest); k *= std::sqrt(2.0)) {
    if (ks.empty() || std::llround(k) > ks.back()) ks.push_back(std::llround(k));
  }
  if (ks.empty() || ks.back() != largest) ks.push_back(largest);
  return ks;
}

Study study_of(std::int64_t n, std::int64_t k_max, int ranks = 1) {
  double const size = static_cast<double>(n);
  Study study;
  study.sigma = {0.5, 1.0, 2.0, std::max(1.0, std::log(size))};
  study.k = k_grid(k_max);
  study.thresholds = {1.0 / size, 0.5 / size, 1e-3, 1e-2, 1e-12, 0.4};
  study.ranks = ranks;
  return study;
}

TEST(RowMetrics, NormalRowsOfManySizes) {
  Random random(70);
  for (std::size_t const n : {1, 2, 63, 64, 65, 1000, 20000}) {
    auto const size = static_cast<std::int64_t>(n);
    for (std::int64_t const k_max : {std::int64_t{1}, std::int64_t{16}, size / 2 + 1, size, size + 7}) {
      expect_row(random.normals(n), study_of(size, k_max), "normal, k_max " + std::to_string(k_max));
    }
  }
}

TEST(RowMetrics, OpenQuestionsSettleOnAnyNumberOfRanks) {
  Random random(71);
  int rounds = 0;
  for (int const ranks : {1, 2, 7}) {
    for (std::size_t const n : {1000, 20000, 200000}) {
      rounds = std::max(rounds, expect_row(random.normals(n), study_of(static_cast<std::int64_t>(n), 4, ranks),
                                           "tiny head, ranks " + std::to_string(ranks)));
    }
  }
  EXPECT_GE(rounds, 1);  // a head of 5 keys leaves questions open
}

TEST(RowMetrics, SettlingDoesNotDependOnRanks) {
  Random random(72);
  for (int trial = 0; trial < 4; ++trial) {
    auto const scores = random.normals(50000, trial % 2 == 0 ? 1.0 : 0.02);
    auto const study = study_of(50000, 3);
    MetricAxes const axes{study.k, study.sigma, study.epsilon};
    auto const head = test::head_of(scores, 4);
    auto const bins = test::bins_of(scores, bins_per_unit(study));
    std::vector<std::vector<std::int64_t>> results;
    for (int const ranks : {1, 2, 3, 5}) {
      auto evaluation = evaluate_row(head, bins, axes, study.thresholds, 50000);
      test::settle_all(evaluation, scores, bins, axes, head.front().score, ranks, most_rounds);
      results.emplace_back();
      for (auto const& law : evaluation.laws) {
        results.back().insert(results.back().end(), law.count("k_epsilon").begin(), law.count("k_epsilon").end());
        results.back().insert(results.back().end(), law.count("count_p_above").begin(), law.count("count_p_above").end());
      }
      EXPECT_EQ(results.back(), results.front()) << "ranks " << ranks << " trial " << trial;
    }
  }
}

TEST(RowMetrics, TailFarBelow) {
  // sigma = log n: the tail at large k is 1e-10 and less; total minus head would have no digit right.
  Random random(73);
  for (std::size_t const n : {1000, 20000}) {
    Study study = study_of(static_cast<std::int64_t>(n), static_cast<std::int64_t>(n * 3 / 4));
    study.sigma = {std::log(static_cast<double>(n)), 1.5 * std::log(static_cast<double>(n))};
    expect_row(random.normals(n), study, "far tail");
  }
}

TEST(RowMetrics, TailsWhoseSquaresUnderflow) {
  // One key far above all others, as heavy-tailed inputs have: tails near 1e-140, 1e-160 (squares no normal numbers) and 1e-260.
  Random random(78);
  for (float const above : {160.0f, 184.0f, 300.0f}) {
    auto scores = random.normals(3000);
    scores[1234] = above;
    Study study = study_of(3000, 2000);
    study.sigma = {2.0};
    study.epsilon = {0.5};
    study.thresholds = {0.4};
    expect_row(scores, study, "one key " + std::to_string(above) + " above");
  }
}

TEST(RowMetrics, Ties) {
  Random random(74);
  for (std::size_t const n : {1, 2, 63, 64, 65, 1000, 20000}) {
    auto const size = static_cast<std::int64_t>(n);
    for (std::int64_t const k_max : {std::int64_t{1}, size / 3 + 1}) {
      auto const study = study_of(size, k_max, 2);
      expect_row(std::vector<float>(n, 0.3f), study, "all equal");
      expect_row(std::vector<float>(n, 0.5f / 64.0f), study, "all equal, at a bin's edge");
      std::vector<float> two, close, few;
      for (std::size_t j = 0; j < n; ++j) {
        two.push_back(j % 3 == 0 ? 1.0f : -1.0f);
        close.push_back(j % 3 == 0 ? 0.1f : 0.1001f);
        few.push_back(static_cast<float>(random.integer(0, 4)) * 0.5f);
      }
      expect_row(two, study, "two values");
      expect_row(close, study, "two values of one bin");
      expect_row(few, study, "five values");
    }
  }
}

/// Equal keys may score one unit in the last place apart, by their place in a BLAS tile.
TEST(RowMetrics, ManyTiesAtNeighbouringNumbers) {
  for (int const n : {30000, 200000})
    for (int const distinct : {2, 3, 4}) {
      for (int const share : {1, 2, 9}) {
        std::vector<float> scores;
        for (int j = 0; j < n; ++j) {
          std::uint32_t const step = j % (share + 1) == 0 ? 0u : static_cast<std::uint32_t>(j % distinct);
          scores.push_back(bit_cast<float>(bit_cast<std::uint32_t>(0.7f) + step));
        }
        expect_row(scores, study_of(n, 5, 2), std::to_string(distinct) + " neighbours, share " + std::to_string(share));
      }
    }
}

TEST(RowMetrics, ClustersAndGaps) {
  Random random(75);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<float> scores;
    auto const n = random.integer(5000, 30000), clusters = random.integer(1, 4);
    double const spread = std::pow(10.0, random.uniform(-7.0, -0.5));
    for (std::int64_t j = 0; j < n; ++j) {
      scores.push_back(static_cast<float>(static_cast<double>(random.integer(0, clusters - 1)) * 0.7 + spread * random.normal()));
    }
    expect_row(scores, study_of(n, random.integer(1, 40), static_cast<int>(random.integer(1, 4))),
               "clusters of width " + std::to_string(spread));
  }
}

/// The brute force itself, against the frozen reference.
TEST(RowMetrics, BruteForceAgreesWithTheReference) {
  Random random(76);
  auto const scores = random.normals(700);
  for (double const sigma : {0.5, 2.0, 4.0}) {
    BruteRow const brute(scores, sigma);
    std::vector<double> logits;
    for (float const s : scores) logits.push_back(sigma * static_cast<double>(s));
    auto const p = reference::softmax(logits);
    auto const by_rank = reference::order(logits);
    auto const profile = reference::profile(logits);
    EXPECT_NEAR(profile.log_sum_exp, static_cast<double>(brute.log_sum_exp), 1e-12);
    EXPECT_NEAR(profile.entropy_nats, static_cast<double>(brute.entropy), 1e-12);
    EXPECT_NEAR(profile.sum_p_squared, static_cast<double>(brute.square), 1e-14);
    for (std::int64_t const k : {1, 5, 100, 699, 700}) {
      auto const errors = reference::errors(p, by_rank, k, std::vector<float>(700, 1.0f), 1);
      double l2 = 0.0, linf = 0.0;
      brute.errors(static_cast<std::size_t>(k), l2, linf);
      EXPECT_NEAR(errors.tail_mass, static_cast<double>(brute.tail[static_cast<std::size_t>(k)]), 1e-14);
      EXPECT_NEAR(errors.row_l2_error, l2, 1e-14);
      EXPECT_NEAR(errors.row_linf_error, linf, 1e-14);
    }
    for (double const epsilon : {0.3, 0.1, 0.01}) {
      auto const k = static_cast<std::size_t>(reference::k_epsilon(p, by_rank, epsilon));
      EXPECT_LE(brute.tail[k], static_cast<long double>(epsilon));
      EXPECT_GT(brute.tail[k - 1], static_cast<long double>(epsilon));
    }
  }
}

}  // namespace
}  // namespace asymptop
