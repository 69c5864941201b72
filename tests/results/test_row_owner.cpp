// The owner's side of a row: segments of its head, output errors from segment sums, and an audit that lets no wrong number pass.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/reference/attention_row.hpp"
#include "row/row_owner.hpp"
#include "support/random.hpp"
#include "support/row_problem.hpp"

namespace asymptop {
namespace {

using test::Random;

struct OwnerCase {
  std::vector<float> scores, values;
  std::size_t d;
  MetricAxes axes;
  OwnedRow row;

  OwnerCase(std::vector<float> row_scores, std::vector<std::int64_t> const& ks, std::vector<double> const& sigmas, std::size_t dimension,
            Random& random)
      : scores(std::move(row_scores)), values(random.normals(scores.size() * dimension)), d(dimension), axes{ks, sigmas, {0.1}} {
    auto const n = static_cast<std::int64_t>(scores.size());
    row = own_row(3, test::head_of(scores, ks.back() + 1), test::bins_of(scores, 256.0), axes, {0.1}, {0, n});
  }

  /// Segment of the key with this rank.
  std::size_t segment(std::size_t rank) const {
    std::size_t g = 0;
    while (g < row.ranks.size() && row.ranks[g] <= static_cast<std::int64_t>(rank)) ++g;
    return g;
  }

  std::vector<Candidate> sorted() const { return test::head_of(scores, static_cast<std::int64_t>(scores.size())); }

  /// (boundaries + 1, d + 1): sums of e^{sigma (s - reference)} v, and of the weights.
  std::vector<double> attention_sums(double sigma) const {
    std::vector<double> sums((row.ranks.size() + 1) * (d + 1), 0.0);
    auto const by_rank = sorted();
    for (std::size_t i = by_rank.size(); i-- > 0;) {
      auto const g = segment(i);
      double const w = std::exp(sigma * (static_cast<double>(by_rank[i].score) - static_cast<double>(row.references[g])));
      for (std::size_t c = 0; c < d; ++c)
        sums[g * (d + 1) + c] += w * static_cast<double>(values[static_cast<std::size_t>(by_rank[i].index) * d + c]);
      sums[g * (d + 1) + d] += w;
    }
    return sums;
  }

  /// (boundaries + 1, 4): e^y, e^2y, y e^y, count.
  std::vector<double> audit_sums(double sigma) const {
    std::vector<double> sums((row.ranks.size() + 1) * 4, 0.0);
    auto const by_rank = sorted();
    for (std::size_t i = by_rank.size(); i-- > 0;) {
      auto const g = segment(i);
      double const y = sigma * (static_cast<double>(by_rank[i].score) - static_cast<double>(row.references[g])), w = std::exp(y);
      sums[g * 4] += w;
      sums[g * 4 + 1] += w * w;
      sums[g * 4 + 2] += y * w;
      sums[g * 4 + 3] += 1.0;
    }
    return sums;
  }
};

double worst(CheckResiduals const& checks, Check check) { return checks.worst[static_cast<std::size_t>(check)]; }

TEST(OwnRow, SegmentsOfTheHead) {
  Random random(80);
  for (std::size_t const n : {1, 2, 5, 64, 3000}) {
    auto const ks = std::vector<std::int64_t>{1, 2, 3, 8, 64, 100};
    OwnerCase const c(random.normals(n), ks, {1.0}, 2, random);
    auto const by_rank = c.sorted();
    std::vector<std::int64_t> expected;
    for (auto const k : ks) {
      auto const rank = std::min(k, static_cast<std::int64_t>(n));
      if (expected.empty() || rank > expected.back()) expected.push_back(rank);
    }
    EXPECT_EQ(c.row.ranks, expected) << n;
    EXPECT_EQ(c.row.score_max, by_rank[0].score);
    ASSERT_EQ(c.row.references.size(), expected.size() + 1);
    for (std::size_t g = 0; g < expected.size(); ++g) {
      EXPECT_EQ(c.row.boundaries[g].index, by_rank[static_cast<std::size_t>(expected[g] - 1)].index) << n << " " << g;
      EXPECT_EQ(c.row.references[g], by_rank[static_cast<std::size_t>(g == 0 ? 0 : expected[g - 1])].score) << n << " " << g;
    }
    EXPECT_EQ(c.row.references.back(), by_rank[static_cast<std::size_t>(std::min<std::int64_t>(expected.back(), n - 1))].score) << n;
    EXPECT_EQ(c.row.above_edge, expected.back() - 1);
    EXPECT_EQ(c.row.equal_edge, 1);
  }
}

TEST(OwnRow, EdgeCountsSeeTies) {
  Random random(81);
  OwnerCase const c({1.0f, 2.0f, 1.0f, 1.0f, 0.5f, 1.0f}, {1, 3}, {1.0}, 1, random);
  EXPECT_EQ(c.row.above_edge, 1);
  EXPECT_EQ(c.row.equal_edge, 2);  // of the three best, not of all
  EXPECT_EQ(c.row.boundaries[1].index, 2);
}

TEST(OutputErrors, EqualTheReference) {
  Random random(82);
  for (std::size_t const n : {1, 2, 65, 2000}) {
    for (std::size_t const d : {1, 7, 64}) {
      std::vector<double> const sigmas{0.5, 2.0, 6.0};
      OwnerCase c(random.normals(n), {1, 2, 8, 64, 700}, sigmas, d, random);
      for (std::size_t law = 0; law < sigmas.size(); ++law) {
        CheckResiduals checks;
        output_errors(c.row, law, sigmas[law], c.attention_sums(sigmas[law]), d, c.axes.k, checks);
        EXPECT_LT(worst(checks, Check::sum_p_direct), 1e-6);
        EXPECT_LT(worst(checks, Check::identity_output), 5e-6);
        std::vector<double> logits;
        for (float const s : c.scores) logits.push_back(sigmas[law] * static_cast<double>(s));
        auto const p = reference::softmax(logits);
        auto const by_rank = reference::order(logits);
        auto const& metrics = c.row.evaluation.laws[law];
        ASSERT_EQ(metrics.real("output_error").size(), c.axes.k.size());
        for (std::size_t i = 0; i < c.axes.k.size(); ++i) {
          auto const k = std::min(c.axes.k[i], static_cast<std::int64_t>(n));
          auto const expected = reference::errors(p, by_rank, k, c.values, static_cast<std::int64_t>(d));
          auto const what =
              "n " + std::to_string(n) + " d " + std::to_string(d) + " k " + std::to_string(k) + " sigma " + std::to_string(sigmas[law]);
          // The fp64 reference loses digits where p - p_hat cancels: 1e-13 of the output.
          EXPECT_NEAR(metrics.real("output_error")[i], expected.output_error, 2e-6 * expected.output_error + 1e-13) << what;
          EXPECT_NEAR(metrics.real("output_error_relative")[i], expected.output_error_relative,
                      2e-6 * expected.output_error_relative + 1e-12)
              << what;
        }
      }
    }
  }
}

TEST(OutputErrors, WrongSumsShowInTheChecks) {
  Random random(83);
  OwnerCase const whole(random.normals(2000), {1, 8, 64}, {1.0}, 4, random);
  auto const good = whole.attention_sums(1.0);
  auto const residuals = [&](std::vector<double> const& sums) {
    OwnerCase c = whole;
    CheckResiduals checks;
    output_errors(c.row, 0, 1.0, sums, 4, c.axes.k, checks);
    return std::max(worst(checks, Check::sum_p_direct), worst(checks, Check::identity_output));
  };
  EXPECT_LT(residuals(good), 1e-6);
  for (std::size_t g = 0; g < 4; ++g) {
    auto bad = good;
    bad[g * 5 + 4] *= 1.01;  // the weight of a segment
    EXPECT_GT(residuals(bad), 1e-5) << "segment " << g;
  }
}

TEST(Audit, AgreesWithARightRow) {
  Random random(84);
  for (std::size_t const n : {1, 2, 65, 3000}) {
    std::vector<double> const sigmas{0.5, 2.0, 7.0};
    OwnerCase const c(random.normals(n), {1, 2, 8, 64, 700}, sigmas, 1, random);
    for (std::size_t law = 0; law < sigmas.size(); ++law) {
      CheckResiduals checks;
      audit_row(c.row, law, sigmas[law], c.audit_sums(sigmas[law]), c.axes.k, checks);
      EXPECT_EQ(worst(checks, Check::top_k_count), 0.0) << n;
      EXPECT_EQ(worst(checks, Check::keys_seen), 0.0) << n;
      EXPECT_LT(worst(checks, Check::audit_metrics), 5e-6) << n << " sigma " << sigmas[law];
    }
  }
}

TEST(Audit, TailsWhoseSquaresUnderflow) {
  Random random(86);
  for (float const above : {160.0f, 184.0f, 300.0f}) {
    auto scores = random.normals(3000);
    scores[1234] = above;
    OwnerCase const right(scores, {1, 8, 64, 2000}, {2.0}, 1, random);
    CheckResiduals checks;
    audit_row(right.row, 0, 2.0, right.audit_sums(2.0), right.axes.k, checks);
    EXPECT_LT(worst(checks, Check::audit_metrics), 5e-6) << above;
    auto wrong = right;
    wrong.row.evaluation.laws[0].real("row_l2_error")[2] *= 1.001;
    audit_row(wrong.row, 0, 2.0, right.audit_sums(2.0), right.axes.k, checks);
    EXPECT_GT(worst(checks, Check::audit_metrics), 1e-4) << above;
  }
}

TEST(Audit, EveryWrongMetricIsSeen) {
  Random random(85);
  OwnerCase const right(random.normals(3000), {1, 8, 64}, {2.0}, 1, random);
  auto const sums = right.audit_sums(2.0);
  auto const residual = [&](auto const& spoil, Check check = Check::audit_metrics) {
    OwnerCase c = right;
    auto spoiled = sums;
    spoil(c.row.evaluation.laws[0], spoiled);
    CheckResiduals checks;
    audit_row(c.row, 0, 2.0, spoiled, c.axes.k, checks);
    return worst(checks, check);
  };
  using Sums = std::vector<double>;
  EXPECT_LT(residual([](RowMetrics&, Sums&) {}), 1e-5);
  EXPECT_GT(residual([](RowMetrics& m, Sums&) { m.one("entropy_nats") *= 1.001; }), 1e-5);
  EXPECT_GT(residual([](RowMetrics& m, Sums&) { m.one("sum_p_squared") *= 1.001; }), 1e-5);
  EXPECT_GT(residual([](RowMetrics& m, Sums&) { m.one("p_max") *= 1.001; }), 1e-5);
  EXPECT_GT(residual([](RowMetrics& m, Sums&) { m.one("log_sum_exp") += 0.001; }), 1e-5);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_GT(residual([i](RowMetrics& m, Sums&) { m.real("tail_mass")[i] *= 1.001; }), 1e-5);
    EXPECT_GT(residual([i](RowMetrics& m, Sums&) { m.real("row_l2_error")[i] *= 1.001; }), 1e-5);
    EXPECT_GT(residual([i](RowMetrics& m, Sums&) { m.real("tail_mass")[i] = NAN; }), 1e-5);
  }
  // A key in the wrong segment, and a key that was not seen.
  EXPECT_EQ(residual([](RowMetrics&, Sums& s) { s[3] += 1.0, s[7] -= 1.0; }, Check::top_k_count), 1.0);
  EXPECT_EQ(residual([](RowMetrics&, Sums& s) { s[15] -= 1.0; }, Check::keys_seen), 1.0);
}

TEST(CheckResiduals, NotANumberIsInfinitelyWrong) {
  CheckResiduals checks;
  checks.note(Check::sum_p, 0.5);
  checks.note(Check::sum_p, 0.25);
  EXPECT_EQ(worst(checks, Check::sum_p), 0.5);
  checks.note(Check::sum_p, NAN);
  EXPECT_EQ(worst(checks, Check::sum_p), INFINITY);
}

}  // namespace
}  // namespace asymptop
