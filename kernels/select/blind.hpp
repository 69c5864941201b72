// Orders that look at keys alone, whatever the query.
//
//   key-norm  small norms first (Devoto et al., arXiv 2406.11430)
//   key-diff  keys that point away from the mean of all keys' directions first: by smallest cosine (KeyDiff, arXiv 2504.15364)
#pragma once

#include <cmath>
#include <limits>

#include "selector.hpp"

namespace asymptop {

/// A priority of each key by itself: a product of width 1.
class BlindProjection : public Projection {
 public:
  int width(int /*d*/) const override { return 1; }
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
      for (std::size_t c = 0; c < d; ++c) square += key[c] * static_cast<double>(key[c]);
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

}  // namespace asymptop
