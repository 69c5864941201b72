// Frozen serial fp64 references: what the kernels and the running checks are judged against. Plain loops, no shortcuts.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace asymptop::reference {

/// logits[j] = factor * sum_c q[c] k[j][c], keys (n, d) row-major.
std::vector<double> logits(std::vector<float> const& q, std::vector<float> const& keys, std::int64_t n, std::int64_t d, double factor);

/// Keys in the total order of `scores`: score descending, then index ascending. All n of them.
std::vector<std::int64_t> order(std::vector<double> const& scores);

/// Softmax row of the logits.
std::vector<double> softmax(std::vector<double> const& logits);

/// p with all but its k largest (in the order given) dropped, renormalised.
std::vector<double> top_k_softmax(std::vector<double> const& p, std::vector<std::int64_t> const& order, std::int64_t k);

/// Every metric of one row at one k, from the definitions.
struct RowErrors {
  double tail_mass, row_l2_error, row_linf_error, output_error, output_error_relative;
};
RowErrors errors(std::vector<double> const& p, std::vector<std::int64_t> const& order, std::int64_t k, std::vector<float> const& values,
                 std::int64_t d);

struct RowProfile {
  double log_sum_exp, entropy_nats, sum_p_squared, p_max;
};
RowProfile profile(std::vector<double> const& logits);

/// Smallest k with tail_mass <= epsilon.
std::int64_t k_epsilon(std::vector<double> const& p, std::vector<std::int64_t> const& order, double epsilon);

/// sum_j p_j v_j, values (n, d) row-major.
std::vector<double> attention(std::vector<double> const& p, std::vector<float> const& values, std::int64_t d);

}  // namespace asymptop::reference
