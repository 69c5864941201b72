// SOCKET (arXiv 2602.06283): keys fall into one bucket of each of L hash tables of K sign bits, queries into all of them with some
// probability; a key's priority is the sum over the tables of the query's probability of its bucket.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "../core/math.hpp"
#include "magicpig.hpp"
#include "selector.hpp"

namespace asymptop {

/// The probabilities of a table's buckets c in {-1, 1}^K are softmax(x . c / tau), x_b = tanh(w_b . q') / sqrt(d) over its hyperplanes w_b
/// and the query q' = sqrt(d) q / ‖q‖: the products over b of 1 / (1 + e^{-2 c_b x_b / tau}).
class SocketLookup final : public Lookup {
 public:
  SocketLookup(SignTables tables, double tau) : tables_(std::move(tables)), tau_(tau) {}
  SelectorSeconds seconds(int d) const override { return {7e-11 * d * tables_.tables() * tables_.bits(), 1.5e-9 * tables_.tables()}; }
  void draw(Stream stream, int d) override { tables_.draw(stream, d); }
  int code_words() const override { return tables_.width(); }
  void code(float const* key, int d, std::uint16_t* out) const override { tables_.signature(key, d, out); }

  /// Of each table, the probabilities of the upper bits' values, then of the lower ones'.
  std::vector<float> table(float const* q, int d) const override {
    double square = 0.0;
    for (int c = 0; c < d; ++c) square += q[c] * double{q[c]};
    double const root = std::sqrt(d), to_unit = square > 0.0 ? root / std::sqrt(square) : 0.0;
    std::vector<float> unit(d), found;
    for (int c = 0; c < d; ++c) unit[c] = to_fp32(to_unit * q[c]);
    std::vector<float> along(tables_.bits() * tables_.tables());
    tables_.products(unit.data(), d, along.data());
    std::vector<double> set(tables_.bits());  // chance of a bit to be 1, the first one being the highest
    for (int t = 0; t < tables_.tables(); ++t) {
      for (int b = 0; b < tables_.bits(); ++b)
        set[b] = 1.0 / (1.0 + std::exp(-2.0 * std::tanh(double{along[t * tables_.bits() + b]}) / (root * tau_)));
      add_chances(set, 0, upper_bits(), found);
      add_chances(set, upper_bits(), tables_.bits(), found);
    }
    return found;
  }

  void priorities(RowOfKeys const& /*row*/, float const* table, std::uint16_t const* codes, std::int64_t /*first*/, int count,
                  float* out) const override {
    int const words = code_words(), low = tables_.bits() - upper_bits(), step = (1 << upper_bits()) + (1 << low);
    for (int i = 0; i < count; ++i) {
      std::uint16_t const* const code = codes + std::int64_t{i} * words;
      float sum = 0.0f;
      float const* of_table = table;
      for (int t = 0; t < tables_.tables(); ++t, of_table += step)
        sum = std::fma(of_table[code[t] >> low], of_table[(1 << upper_bits()) + (code[t] & ((1 << low) - 1))], sum);
      out[i] = sum;
    }
  }

 private:
  int upper_bits() const { return (tables_.bits() + 1) / 2; }
  static void add_chances(std::vector<double> const& set, int begin, int end, std::vector<float>& to) {
    for (int value = 0; value < 1 << (end - begin); ++value) {
      double chance = 1.0;
      for (int b = begin; b < end; ++b) chance *= (value >> (end - 1 - b) & 1) != 0 ? set[b] : 1.0 - set[b];
      to.push_back(to_fp32(chance));
    }
  }

  SignTables tables_;
  double tau_;
};

}  // namespace asymptop
