// Sums whose every addition is rounded to a format, in three orders. Terms are rounded to the format before they are added.
//
//   sequential   ((t0 + t1) + t2) + ...
//   pairwise     neighbours, then neighbours of those sums: one binary tree over the indices; a sum without a neighbour moves up as it is
//   blocked      sequential in blocks of neighbours, pairwise over the blocks' sums
//
// Each order is one fixed tree, so a sum has the same bits wherever it is made.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "rounding.hpp"

namespace asymptop {

enum class SumOrder { sequential, pairwise, blocked };
inline constexpr std::array all_sum_orders = {SumOrder::sequential, SumOrder::pairwise, SumOrder::blocked};

constexpr char const* name_of(SumOrder order) {
  constexpr EnumArray<SumOrder, char const*, 3> names = {{"sequential", "pairwise", "blocked"}};
  return names[order];
}

/// Additions that a term may pass through.
inline std::int64_t sum_depth(std::int64_t n, SumOrder order, std::int64_t block) {
  auto const levels = [](std::int64_t count) {
    std::int64_t depth = 0;
    while ((std::int64_t{1} << depth) < count) ++depth;
    return depth;
  };
  switch (order) {
    case SumOrder::sequential:
      return n - 1;
    case SumOrder::pairwise:
      return levels(n);
    default:
      return std::min(n, block) - 1 + levels((n + block - 1) / block);
  }
}

/// term(i) >= 0 for i in [begin, end). An addition that stays in the sum's binade is one addition of fp64, which rounds it as the format
/// does; the others, a few dozen at most, are made anew.
template <class Term>
double sequential_sum(std::int64_t begin, std::int64_t end, Term const& term, Rounding const& round) {
  double sum = 0.0;
  if (!round.narrow()) {
    for (auto i = begin; i < end; ++i) sum += term(i);
    return sum;
  }
  auto binade = round.binade_of(sum);
  double shifted = binade.power;  // + sum
  for (auto i = begin; i < end; ++i) {
    double const x = round.of_magnitude(term(i)), next = shifted + x;
    if (next < binade.end) {
      shifted = next;
      continue;
    }
    sum = round.of_magnitude((shifted - binade.power) + x);
    // Nothing that is added makes it smaller again: infinite, or saturated.
    if (x != x || round.too_large(sum)) return sum;
    binade = round.binade_of(sum);
    shifted = binade.power + sum;
  }
  return shifted - binade.power;
}

/// One level of the tree after another, in turns between two buffers of at least (count + 1) / 2 numbers; `from` holds the first one.
template <class Round>
double fold_pairs(double* from, double* to, std::int64_t count, Round const round) {
  while (count > 1) {
    auto const half = count / 2;
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) to[i] = round(from[2 * i] + from[2 * i + 1]);
    if (count % 2 != 0) to[half] = from[count - 1];
    std::swap(from, to);
    count = half + count % 2;
  }
  return from[0];
}

/// term(i) for i in [0, n), n >= 1. Works through aligned subtrees that fit the L1 cache.
/// Term and rounding by value: what they hold then cannot be what is written.
template <class Term, class Round>
double pairwise_sum(std::int64_t n, Term const term, Round const round) {
  constexpr std::int64_t leaves = 1024;
  alignas(64) double first[leaves], second[leaves / 2];
  std::vector<double> sums;
  sums.reserve((n + leaves - 1) / leaves);
  for (std::int64_t begin = 0; begin < n; begin += leaves) {
    auto const count = std::min(leaves, n - begin);
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) first[i] = round(term(begin + i));
    sums.push_back(fold_pairs(first, second, count, round));
  }
  std::vector<double> buffer((sums.size() + 1) / 2);
  return fold_pairs(sums.data(), buffer.data(), std::ssize(sums), round);
}

/// term(i) >= 0 for i in [0, n), n >= 1.
template <class Term>
double blocked_sum(std::int64_t n, std::int64_t block, Term const& term, Rounding const& round) {
  std::vector<double> sums;
  for (std::int64_t begin = 0; begin < n; begin += block) sums.push_back(sequential_sum(begin, std::min(n, begin + block), term, round));
  std::vector<double> buffer((sums.size() + 1) / 2);
  return fold_pairs(sums.data(), buffer.data(), std::ssize(sums), round);
}

/// Sum of term(i) >= 0 for i in [0, n), n >= 1.
template <class Term>
double rounded_sum(std::int64_t n, Term const& term, Rounding const& round, SumOrder order, std::int64_t block) {
  switch (order) {
    case SumOrder::sequential:
      return sequential_sum(0, n, term, round);
    case SumOrder::pairwise:
      return pairwise_sum(n, term, round);
    default:
      return blocked_sum(n, block, term, round);
  }
}

/// fp64 as it is.
struct NoRounding {
  KOKKOS_FORCEINLINE_FUNCTION double operator()(double x) const { return x; }
};

/// Sum in fp64, good to log2(n) 2^-53 of the sum of the terms' magnitudes.
template <class Term>
double accurate_sum(std::int64_t n, Term const& term) {
  return pairwise_sum(n, term, NoRounding());
}

}  // namespace asymptop
