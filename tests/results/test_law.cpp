// Laws: what parses, what is refused and how the line reads; k at n; estimates over draws.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {
namespace {

std::string message_of(auto const& action) {
  try {
    action();
  } catch (UsageError const& error) {
    return error.what();
  }
  return "";
}

TEST(Law, AsPartOfAName) {
  auto const word = [](std::string const& text) { return Law("--sigma", text).word(); };
  EXPECT_EQ(word("2"), "2");
  EXPECT_EQ(word("2 * sqrt( log(n) )"), "2xsqrt(log(n))");
  EXPECT_EQ(word("log(n)/2"), "log(n)by2");
  EXPECT_EQ(word("n^0.5"), "n^0.5");
  // Others than what they are easily taken for, and none with a slash.
  for (auto const* text : {"sqrt(log(n)*2)", "sqrt(log(n))*2", "sqrt(log(n)/2)", "sqrt(log(n))/2"}) {
    for (auto const* other : {"sqrt(log(n)*2)", "sqrt(log(n))*2", "sqrt(log(n)/2)", "sqrt(log(n))/2"})
      EXPECT_EQ(word(text) == word(other), std::string(text) == other);
    EXPECT_EQ(word(text).find('/'), std::string::npos);
  }
  std::string const sum = "0.1+0.2+0.3+0.4+0.5+0.6+0.7+0.8+0.9+1.0+1.1+1.2+1.3+1.4+1.5+1.6+1.7+1.8+1.9+2.0+2.1+2.2+n";
  EXPECT_EQ(word(sum).size(), 80u);
  EXPECT_NE(word(sum), word(sum + "+1"));
  EXPECT_EQ(word(sum).substr(0, 20), sum.substr(0, 20));
}

TEST(Law, OneSpelling) {
  for (auto const& same : std::vector<std::vector<std::string>>{{"0.001", "1e-3", ".001", "1E-03", " 0.0010 "},
                                                                {"4*n^0.5", "4 * n^.50", "4.*n^5e-1", "\t04*n ^ 0.5"},
                                                                {"1/n", "1.0/n", "1 / n"},
                                                                {"100000", "1e5"},
                                                                {"2*sqrt(log(n))", "2.0 * sqrt( log(n) )"}}) {
    for (auto const& text : same) {
      EXPECT_EQ(one_spelling(text), same.front()) << text;
      EXPECT_EQ(Law("--k", text).word(), Law("--k", same.front()).word()) << text;
      EXPECT_EQ(Law("--k", text).text(), text);
      EXPECT_EQ(message_of([&] { parse_laws("--k", "7," + same.front() + "," + text); }) != "", true) << text;
    }
  }
  for (auto const* text : {"n2", "log10(n)", "2^-1", "1e400", "5e-324", "0.3333333333333333", "1e-20", "", "a,b"})
    EXPECT_EQ(one_spelling(text), text);
  EXPECT_NE(one_spelling("0.1"), one_spelling("0.10000000000000002"));
}

TEST(Law, Values) {
  struct Case {
    char const* text;
    std::int64_t n;
    double value;
  };
  for (auto const& c : {Case{"400", 7, 400.0},
                        Case{"n", 7, 7.0},
                        Case{"4*n^0.5", 1 << 20, 4096.0},
                        Case{"log(n)^2", 1000, std::log(1000.0) * std::log(1000.0)},
                        Case{"400*n^(1/1000)", 4096, 400.0 * std::pow(4096.0, 1e-3)},
                        Case{"2*sqrt(log(n))", 65536, 2.0 * std::sqrt(std::log(65536.0))},
                        Case{"1/n", 1024, 1.0 / 1024.0},
                        Case{"1e-3", 5, 1e-3},
                        Case{"2.5E+2", 5, 250.0},
                        Case{".5", 5, 0.5},
                        Case{" n / 4 ", 64, 16.0},
                        Case{"2^3^2", 1, 512.0},
                        Case{"-1+n", 5, 4.0},
                        Case{"(n-1)*(n+1)", 5, 24.0},
                        Case{"8-4-2", 1, 2.0},
                        Case{"n/4/2", 64, 8.0},
                        Case{"2+3*4^2", 1, 50.0},
                        Case{"sqrt(sqrt(n))", 256, 4.0},
                        Case{"064", 1, 64.0},
                        Case{"00.50", 1, 0.5},
                        Case{"1.", 1, 1.0},
                        Case{"1.e2", 1, 100.0},
                        Case{"2^-1", 1, 0.5},
                        Case{"8--3^2", 1, 17.0},
                        Case{"2^-n^2+n", 2, 2.0625},
                        Case{"+n", 3, 3.0},
                        Case{"\tn\n", 3, 3.0},
                        Case{"1+2^(-1/(n-n))", 5, 1.0},
                        Case{"5e-324*n", 1, 5e-324},
                        Case{"n", std::int64_t{1} << 48, std::ldexp(1.0, 48)}}) {
    EXPECT_DOUBLE_EQ(Law("--k", c.text)(c.n), c.value) << c.text;
    EXPECT_EQ(Law("--k", c.text).text(), c.text);
  }
}

TEST(Law, Refused) {
  for (std::string const text :
       {"",        " ",        "x",     "n+",           "(n",        "n)",     "sin(n)", "log",    "log()",   "log(n,2)", "n n", "2n",
        "n=3",     "a=n",      "n,2",   "n;2",          "n<3",       "n==3",   "n?1:2",  "n&&1",   "_pi",     "_e",       "e",   "pi",
        "N",       "log10(n)", "ln(n)", "exp(n)",       "abs(n)",    "min(n)", "max(n)", "sum(n)", "rnd()",   "if(n)",    "n!",  "n%2",
        "\"n\"",   "'n'",      "n#",    "0x10",         "1e",        "1..2",   "1.2.3",  "1e400",  "1e-400",  "--n",      "-+n", "2n^2",
        "log (n)", "2(n)",     "1_000", "\xef\xbd\x8e", "n\xc2\xa0", "nan",    "inf",    "n**2",   "*n",      "n^",       "()",  "n\nn",
        "log n",   "n_",       "n1",    "sqrt2",        "$n",        "n@",     "[n]",    "{n}",    "\xc3\xa9"}) {
    auto const message = message_of([&] { Law("--sigma", text); });
    EXPECT_NE(message, "") << "'" << text << "' is taken for a law";
    EXPECT_NE(message.find("--sigma"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), text.find('\n') == std::string::npos ? std::string::npos : message.find('\n'))
        << "more than one line: " << message;
  }
  EXPECT_NE(message_of([] { Law("--k", "2*sin(n)"); }).find("unknown name 'sin'"), std::string::npos);
  EXPECT_NE(message_of([] { Law("--k", std::string(300, '1')); }), "");
  EXPECT_NE(message_of([] { Law("--k", std::string(60, '(') + "n" + std::string(60, ')')); }), "");
}

TEST(Law, MustBeFiniteAndPositiveAtN) {
  EXPECT_NE(message_of([] { Law("--sigma", "log(n)")(1); }), "");
  EXPECT_NE(message_of([] { Law("--sigma", "n-5")(5); }), "");
  EXPECT_NE(message_of([] { Law("--sigma", "5-n")(9); }), "");
  EXPECT_NE(message_of([] { Law("--sigma", "1/(n-4)")(4); }), "");
  EXPECT_NE(message_of([] { Law("--sigma", "sqrt(3-n)")(4); }), "");
  EXPECT_NE(message_of([] { Law("--sigma", "n^n")(1 << 20); }), "");
  EXPECT_EQ(message_of([] { Law("--sigma", "n-5")(6); }), "");
  auto const message = message_of([] { Law("--R", "n-5")(5); });
  EXPECT_NE(message.find("--R"), std::string::npos);
  EXPECT_NE(message.find("n-5"), std::string::npos);
  EXPECT_NE(message.find("n = 5"), std::string::npos);
}

TEST(RankAt, RoundsToNearestAndClipsToN) {
  struct Case {
    char const* text;
    std::int64_t n, k;
    bool clipped;
  };
  for (auto const& c :
       {Case{"64", 100, 64, false}, Case{"0.5", 100, 1, false}, Case{"0.51", 100, 1, false}, Case{"1.49", 100, 1, false},
        Case{"1.5", 100, 2, false}, Case{"2.5", 100, 3, false}, Case{"n^0.5", 4096, 64, false}, Case{"n^0.5", 4095, 64, false},
        Case{"n^0.5", 2, 1, false}, Case{"n^0.75", 65536, 4096, false}, Case{"n", 17, 17, false}, Case{"n+0.4", 17, 17, false},
        Case{"n+0.5", 17, 17, true}, Case{"n+1", 17, 17, true}, Case{"400", 64, 64, true}, Case{"1e300", 64, 64, true},
        Case{"n^2", std::int64_t{1} << 48, std::int64_t{1} << 48, true}}) {
    auto const rank = rank_at(Law("--k", c.text), c.n);
    EXPECT_EQ(rank.k, c.k) << c.text << " at " << c.n;
    EXPECT_EQ(rank.clipped, c.clipped) << c.text << " at " << c.n;
  }
  // Where n and its neighbours are one double.
  for (std::int64_t const n : {std::int64_t{1} << 60, (std::int64_t{1} << 60) + 1, (std::int64_t{1} << 62) - 1, std::int64_t{1} << 62}) {
    EXPECT_EQ(rank_at(Law("--k", "n"), n).k, n);
    EXPECT_FALSE(rank_at(Law("--k", "n"), n).clipped) << n;
    EXPECT_EQ(rank_at(Law("--k", "2*n"), n).k, n);
    EXPECT_TRUE(rank_at(Law("--k", "2*n"), n).clipped) << n;
  }
  EXPECT_NE(message_of([] { rank_at(Law("--k", "0.49"), 100); }), "");
  EXPECT_NE(message_of([] { rank_at(Law("--k", "40/n"), 100); }), "");
  EXPECT_EQ(message_of([] { rank_at(Law("--k", "40/n"), 80); }), "");
}

TEST(Laws, Lists) {
  auto const laws = parse_laws("--k", " 64 , n^0.5,log(n)^2 ");
  ASSERT_EQ(laws.size(), 3u);
  EXPECT_EQ(laws[0].text(), "64");
  EXPECT_EQ(laws[1].text(), "n^0.5");
  EXPECT_EQ(laws[2].text(), "log(n)^2");
  for (char const* text : {"064,128,n^0.5", "01,2,3", "001,010,100", "1024,064", "n,064", "7,0064"})
    EXPECT_NO_THROW(parse_laws("--k", text)) << text;
  for (char const* text : {"", ",", "64,", ",64", "64,,n", "64,64", "64, 64", "64,x", "1,024", "n,128,064"})
    EXPECT_THROW(parse_laws("--k", text), UsageError) << text;
}

TEST(Estimate, MeanAndStandardErrorOverDraws) {
  // Two columns, three draws of two rows: draw means of column 1 are 2, 4 and 9.
  std::vector<double> const values{0, 1, 0, 3, 0, 4, 0, 4, 0, 8, 0, 10};
  auto const second = estimate(values, 3, 2, 1);
  EXPECT_DOUBLE_EQ(second.mean, 5.0);
  EXPECT_DOUBLE_EQ(second.standard_error, std::sqrt((9.0 + 1.0 + 16.0) / 2.0 / 3.0));
  auto const first = estimate(values, 3, 2, 0);
  EXPECT_EQ(first.mean, 0.0);
  EXPECT_EQ(first.standard_error, 0.0);
  auto const integers = estimate(std::vector<std::int64_t>{1, 2, 3, 4}, 2, 1, 0);
  EXPECT_DOUBLE_EQ(integers.mean, 2.5);
  EXPECT_DOUBLE_EQ(integers.standard_error, 1.0);
  auto const one = estimate(std::vector<double>{1.0, 3.0}, 1, 1, 0);
  EXPECT_DOUBLE_EQ(one.mean, 2.0);
  EXPECT_TRUE(std::isnan(one.standard_error));  // one draw has no standard error
  // Rows that share their draw's keys do not count as replicates.
  EXPECT_DOUBLE_EQ(estimate(std::vector<double>{1, 1, 1, 1, 2, 2, 2, 2}, 2, 1, 0).standard_error, 0.5);
}

}  // namespace
}  // namespace asymptop
