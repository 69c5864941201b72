// What is said of results that are wrong.
#include <gtest/gtest.h>

#include <cmath>

#include "config/number_text.hpp"
#include "row/residual.hpp"
#include "row/tolerances.hpp"

namespace asymptop {
namespace {

TEST(Verdict, NamesWhatIsOverAndPrintsCountsWhole) {
  EXPECT_EQ(verdict_reason({{"keys_seen", 0.0, 0.0}, {"sum_p", 1e-6, 1e-5}}), "");
  EXPECT_EQ(verdict_reason({{"finite", 4352.0, 0.0, "output"}, {"sum_p", 0.0123456, 1e-5}}),
            "finite 4352 over 0 (output); sum_p 0.0123 over 1e-05");
  EXPECT_EQ(verdict_reason({{"top_k_count", 1234567.0, 0.0}}), "top_k_count 1234567 over 0");
  EXPECT_EQ(verdict_reason({{"sum_p", INFINITY, 1e-5}}), "sum_p inf over 1e-05");
}

TEST(Verdict, SaysWhatToDoWhereDigitsEnd) {
  std::vector<Residual> const at_the_end{{"sum_p", 0.01, most_rounding}};
  auto const advice = [&](Products products, double logit = 0.0) {
    auto const reason = verdict_reason(at_the_end, products, logit);
    return reason.substr(std::min(reason.size(), reason.find(';')));
  };
  EXPECT_EQ(advice(Products::made, 1234.0),
            "; fp32 keeps too few digits of these products of Q and K (logits up to 1234): make sigma smaller");
  EXPECT_NE(advice(Products::of_file).find("products of Q and K: take from all keys the vector that they share"), std::string::npos);
  EXPECT_NE(advice(Products::under_softcap).find("under a softcap"), std::string::npos);
  EXPECT_NE(advice(Products::of_any).find("Q or K, or sigma, smaller"), std::string::npos);
  EXPECT_EQ(advice(Products::none), "");
  // Below the end only of residuals that are of products, and of none that is no number.
  EXPECT_EQ(verdict_reason({{"sum_p", 0.01, 1e-5}}).find(';'), std::string::npos);
  EXPECT_NE(verdict_reason({{"audit_metrics", 0.01, 1e-5, "", true}}).find("; fp32"), std::string::npos);
  EXPECT_EQ(verdict_reason({{"audit_metrics", INFINITY, 1e-5, "", true}}).find(';'), std::string::npos);
}

TEST(NumberText, WholeNumbersHaveAllDigits) {
  EXPECT_EQ(count_or(1234567.0, 6), "1234567");
  EXPECT_EQ(count_or(-0.0, 6), "0");
  EXPECT_EQ(count_or(0.123456789, 6), "0.123457");
  EXPECT_EQ(count_or(1e300, 3), "1e+300");
}

}  // namespace
}  // namespace asymptop
