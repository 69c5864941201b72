// Orders that look at keys alone, whatever the query.
//
//   key-norm  small norms first (Devoto et al., arXiv 2406.11430)
//   key-diff  keys that point away from the mean of all keys' directions first: by smallest cosine (KeyDiff, arXiv 2504.15364)
//   expected  by the mean of e^{q . k} over Gaussian queries q (Expected Attention of kvpress)
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../core/counts.hpp"
#include "selector.hpp"

namespace asymptop {

/// A priority of each key by itself: a product of width 1.
class BlindProjection : public Projection {
 public:
  int width(int /*d*/) const override { return 1; }
  SlopeOf slope_of() const override { return SlopeOf::none; }
  void query(float const* /*q*/, int /*d*/, float* out) const override { *out = 1.0f; }
};

class KeyNormProjection final : public BlindProjection {
 public:
  void entry(float const* keys, int /*count*/, int d, float* out) const override {
    float square = 0.0f;
    for (int c = 0; c < d; ++c) square = std::fma(keys[c], keys[c], square);
    *out = -std::min(square, std::numeric_limits<float>::max());  // the heads of a pass take finite priorities
  }
};

class KeyDiffProjection final : public BlindProjection {
 public:
  bool wants_calibration() const override { return true; }
  void calibrate(Calibration const& calibration) override {
    std::size_t const d = calibration.d;
    std::vector<double> sum(d, 0.0);
    for (auto key = calibration.keys.begin(); key != calibration.keys.end(); key += d) {
      double square = 0.0;
      for (std::size_t c = 0; c < d; ++c) square += key[c] * double{key[c]};
      for (std::size_t c = 0; c < d && square > 0.0; ++c) sum[c] += key[c] / std::sqrt(square);
    }
    mean_.assign(sum.begin(), sum.end());
  }
  void entry(float const* keys, int /*count*/, int d, float* out) const override {
    float square = 0.0f, along = 0.0f;
    for (int c = 0; c < d; ++c) {
      square = std::fma(keys[c], keys[c], square);
      along = std::fma(keys[c], mean_[c], along);
    }
    *out = square > 0.0f ? -along / std::sqrt(square) : 0.0f;
  }

 private:
  std::vector<float> mean_;  ///< sum of the keys' directions
};

/// log E e^{q . k} = mu . k + 1/2 k^T Sigma k for q of a normal law with the calibration queries' mean and covariance.
class ExpectedProjection final : public BlindProjection {
 public:
  bool wants_calibration() const override { return true; }
  bool wants_queries() const override { return true; }
  /// Moments about the mean, over the number of queries. Without queries all keys are equal.
  void calibrate(Calibration const& calibration) override {
    std::size_t const d = calibration.d, count = calibration.queries.size() / d;
    double const share = 1.0 / exact_double(std::max<std::size_t>(count, 1));
    std::vector<double> mean(d, 0.0), covariance(d * d, 0.0), centred(d);
    for (std::size_t i = 0; i < calibration.queries.size(); ++i) mean[i % d] += share * calibration.queries[i];
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t a = 0; a < d; ++a) centred[a] = calibration.queries[i * d + a] - mean[a];
      for (std::size_t a = 0; a < d; ++a) {
        for (std::size_t b = 0; b < d; ++b) covariance[a * d + b] += centred[a] * centred[b];
      }
    }
    mean_.assign(mean.begin(), mean.end());
    for (auto& sum : covariance) sum *= 0.5 * share;
    half_.assign(covariance.begin(), covariance.end());
  }
  void entry(float const* keys, int /*count*/, int d, float* out) const override {
    constexpr int lanes = 64;
    float sum = 0.0f;
    // (mu + Sigma k / 2) . k, some columns at a time.
    for (int first = 0; first < d; first += lanes) {
      int const columns = std::min(lanes, d - first);
      float along[lanes];
      std::copy_n(&mean_[first], columns, along);
      for (int a = 0; a < d; ++a) {
        float const* const row = &half_[std::int64_t{a} * d + first];
#pragma omp simd
        for (int c = 0; c < columns; ++c) along[c] = std::fma(keys[a], row[c], along[c]);
      }
      for (int c = 0; c < columns; ++c) sum = std::fma(along[c], keys[first + c], sum);
    }
    constexpr float most = std::numeric_limits<float>::max();
    *out = std::clamp(sum, -most, most);  // as key-norm's
  }

 private:
  std::vector<float> mean_, half_;  ///< mu, and Sigma / 2 as (d, d)
};

}  // namespace asymptop
