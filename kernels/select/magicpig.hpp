// MagicPIG (arXiv 2410.16179): keys that collide with the query in at least two of L hash tables of K sign bits are kept, each with one
// over the chance of that as its weight.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../core/math.hpp"
#include "../input/normal_rows.hpp"
#include "selector.hpp"

namespace asymptop {

/// Signs of products with random hyperplanes, K bits for each of L tables.
class SignTables {
 public:
  SignTables(int bits, int tables) : bits_(bits), tables_(tables) {}

  int tables() const { return tables_; }
  int bits() const { return bits_; }
  /// 16-bit words of a signature: one a table, and some behind them that are the same for all.
  int width() const { return (tables_ + lanes - 1) / lanes * lanes; }

  /// Normals of a stream: rows as many as tables times bits. Bit b of table t is the sign of row t * bits + b.
  void draw(Stream stream, int d) {
    padded_ = (bits_ * tables_ + lanes - 1) / lanes * lanes;
    planes_.assign(std::int64_t{padded_} * d, 0.0f);
    std::vector<float> plane(d);
    for (int p = 0; p < bits_ * tables_; ++p) {
      normal_row(stream, p, d, plane.data());
      for (int c = 0; c < d; ++c) planes_[(std::int64_t{p / lanes} * d + c) * lanes + p % lanes] = plane[c];
    }
  }

  /// x: (d); out: (width).
  void signature(float const* x, int d, std::uint16_t* out) const {
    std::fill_n(out, width(), std::uint16_t{0});
    for_each_product(x, d,
                     [&](int p, float sum) { out[p / bits_] = static_cast<std::uint16_t>(out[p / bits_] << 1 | (sum > 0.0f ? 1 : 0)); });
  }

  /// With every hyperplane. x: (d); out: (tables, bits).
  void products(float const* x, int d, float* out) const {
    for_each_product(x, d, [&](int p, float sum) { out[p] = sum; });
  }

  /// Tables in which two signatures are the same.
  int collisions(std::uint16_t const* a, std::uint16_t const* b) const {
    int const words = width();
    std::uint16_t same = 0;
#pragma omp simd reduction(+ : same)
    for (int t = 0; t < words; ++t) same = static_cast<std::uint16_t>(same + (a[t] == b[t] ? 1 : 0));
    return same - (words - tables_);
  }

  /// The chance of two collisions or more: u = 1 - (1 - p^K)^L - L p^K (1 - p^K)^(L-1), where a bit agrees with chance p.
  double chance(double p) const {
    double const table = std::pow(p, bits_), miss = std::log1p(-std::min(table, 1.0 - 1e-16)), count = tables_;
    if (count * table > 1e-3) return 1.0 - std::exp(count * miss) - count * table * std::exp((count - 1.0) * miss);
    // The first terms of the sum over two, three, ... collisions, of which the above is a difference.
    return 0.5 * count * (count - 1.0) * table * table * (1.0 - 2.0 / 3.0 * (count - 2.0) * table);
  }

 private:
  template <class Visit>
  void for_each_product(float const* x, int d, Visit const& visit) const {
    for (int first = 0; first < padded_; first += lanes) {
      float const* const planes = &planes_[std::int64_t{first} * d];
      float sums[lanes] = {};
      for (int c = 0; c < d; ++c) {
#pragma omp simd
        for (int p = 0; p < lanes; ++p) sums[p] = std::fma(x[c], planes[c * lanes + p], sums[p]);
      }
      for (int p = first; p < std::min(first + lanes, bits_ * tables_); ++p) visit(p, sums[p - first]);
    }
  }

  static constexpr int lanes = 64;
  int bits_, tables_, padded_ = 0;
  std::vector<float> planes_;  ///< (blocks of lanes, d, lanes)
};

class MagicpigSelector final : public Selector {
 public:
  /// Weights are at most 2^30, which no key is likely to have that is kept: fixed-point sums hold them.
  static constexpr double least_chance = 0x1p-30;

  MagicpigSelector(SignTables tables, ForcedKeys const& forced) : forced_(forced), tables_(std::move(tables)) {}
  ForcedKeys forced() const override { return forced_; }
  bool has_order() const override { return false; }
  SelectorSeconds seconds(int d) const override { return {7e-11 * d * tables_.tables() * tables_.bits(), 3e-8}; }
  SignTables const& tables() const { return tables_; }

  bool wants_calibration() override { return true; }
  /// The keys' mean, and hyperplanes of the stream.
  void calibrate(Calibration const& calibration, Stream stream) override {
    std::size_t const d = calibration.d, count = calibration.keys.size() / d;
    std::vector<double> sums(d, 0.0);
    for (std::size_t i = 0; i < calibration.keys.size(); ++i) sums[i % d] += calibration.keys[i];
    mean_.clear();
    for (auto const sum : sums) mean_.push_back(to_fp32(sum / exact_double(std::max<std::size_t>(count, 1))));
    tables_.draw(stream, calibration.d);
  }

  /// In place.
  void centre(float* key) const {
    for (std::size_t c = 0; c < mean_.size(); ++c) key[c] -= mean_[c];
  }

  /// One over the chance that a key is kept; centred: the key less the mean.
  double weight(float const* q, float const* centred) const {
    double product = 0.0, q2 = 0.0, key2 = 0.0;
    for (std::size_t c = 0; c < mean_.size(); ++c) {
      double const a = q[c], b = centred[c];
      product += a * b;
      q2 += a * a;
      key2 += b * b;
    }
    double const norms = std::sqrt(q2 * key2), cosine = norms > 0.0 ? std::clamp(product / norms, -1.0, 1.0) : 0.0;
    return 1.0 / std::clamp(tables_.chance(1.0 - std::acos(cosine) / 3.14159265358979323846), least_chance, 1.0);
  }

 private:
  ForcedKeys forced_;
  SignTables tables_;
  std::vector<float> mean_;
};

}  // namespace asymptop
