#include "attention_row.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

namespace asymptop::reference {

std::vector<double> logits(std::vector<float> const& q, std::vector<float> const& keys, std::int64_t n, std::int64_t d, double factor) {
  std::vector<double> result;
  for (std::int64_t j = 0; j < n; ++j) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < d; ++c) sum += double{q[c]} * double{keys[j * d + c]};
    result.push_back(factor * sum);
  }
  return result;
}

std::vector<std::int64_t> order(std::vector<double> const& scores) {
  std::vector<std::int64_t> keys(scores.size());
  std::iota(keys.begin(), keys.end(), 0);
  std::stable_sort(keys.begin(), keys.end(), [&](std::int64_t a, std::int64_t b) { return scores[a] > scores[b]; });
  return keys;
}

std::vector<double> softmax(std::vector<double> const& logits) {
  double const top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0.0;
  for (auto const s : logits) sum += std::exp(s - top);
  for (auto const s : logits) p.push_back(std::exp(s - top) / sum);
  return p;
}

std::vector<double> top_k_softmax(std::vector<double> const& p, std::vector<std::int64_t> const& order, std::int64_t k) {
  std::vector<double> result(p.size(), 0.0);
  double sum = 0.0;
  for (std::int64_t i = 0; i < k; ++i) sum += p[order[i]];
  for (std::int64_t i = 0; i < k; ++i) {
    std::size_t const j = order[i];
    result[j] = p[j] / sum;
  }
  return result;
}

RowErrors errors(std::vector<double> const& p, std::vector<std::int64_t> const& order, std::int64_t k, std::vector<float> const& values,
                 std::int64_t d) {
  auto const p_hat = top_k_softmax(p, order, k);
  RowErrors result{};
  for (std::size_t i = k; i < p.size(); ++i) result.tail_mass += p[order[i]];
  std::vector<double> difference(p.size());
  for (std::size_t j = 0; j < p.size(); ++j) {
    difference[j] = p[j] - p_hat[j];
    result.row_l2_error += difference[j] * difference[j];
    result.row_linf_error = std::max(result.row_linf_error, std::fabs(difference[j]));
  }
  result.row_l2_error = std::sqrt(result.row_l2_error);
  auto const exact = attention(p, values, d), error = attention(difference, values, d);
  auto const norm = [](std::vector<double> const& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); };
  result.output_error = norm(error);
  result.output_error_relative = norm(error) / norm(exact);
  return result;
}

RowProfile profile(std::vector<double> const& logits) {
  double const top = *std::max_element(logits.begin(), logits.end());
  auto const p = softmax(logits);
  double sum = 0.0;
  for (auto const s : logits) sum += std::exp(s - top);
  RowProfile result{top + std::log(sum), 0.0, 0.0, 0.0};
  for (auto const x : p) {
    if (x > 0.0) result.entropy_nats -= x * std::log(x);
    result.sum_p_squared += x * x;
    result.p_max = std::max(result.p_max, x);
  }
  return result;
}

std::int64_t k_epsilon(std::vector<double> const& p, std::vector<std::int64_t> const& order, double epsilon) {
  // From the small end: the tail is summed itself.
  double tail = 0.0;
  auto k = std::ssize(p);
  while (k > 0 && tail + p[order[k - 1]] <= epsilon) {
    tail += p[order[k - 1]];
    --k;
  }
  return k;
}

std::vector<double> attention(std::vector<double> const& p, std::vector<float> const& values, std::int64_t d) {
  std::vector<double> result(d, 0.0);
  for (std::size_t j = 0; j < p.size(); ++j) {
    for (std::size_t c = 0; c < result.size(); ++c) result[c] += p[j] * double{values[j * result.size() + c]};
  }
  return result;
}

}  // namespace asymptop::reference
