// Orders by scores that are cheaper than the true ones.
//
//   quantised  products of narrow copies of q and k, one scale per vector (DeepSeek-V3.2's indexer, DeepGEMM)
//   sparq      the true products over the r channels of largest |q_c| (SparQ, arXiv 2312.04985)
//   loki       over the first r principal components of the keys, taken about the origin (Loki, arXiv 2406.02542)
#pragma once

#include <cmath>
#include <numeric>

#include "../core/math.hpp"
#include "../core/rounding.hpp"
#include "principal_axes.hpp"
#include "selector.hpp"

namespace asymptop {

enum class KeyFormat { fp32, bf16, fp8, int8, int4 };

/// round(x / scale) * scale, where the scale takes the largest |x| to `most`; zeros where all are. out may be x.
template <class Round>
void scaled_copy(float const* x, int count, float most, Round const& round, float* out) {
  float largest = 0.0f;
  for (int c = 0; c < count; ++c) largest = std::max(largest, std::fabs(x[c]));
  float const scale = largest / most;
  for (int c = 0; c < count; ++c) out[c] = scale > 0.0f ? round(x[c] / scale) * scale : 0.0f;
}

/// To whole numbers up to `levels` times a scale.
inline void rounded_copy(float const* x, int count, int levels, float* out) {
  scaled_copy(
      x, count, static_cast<float>(levels), [](float scaled) { return std::nearbyint(scaled); }, out);
}
inline constexpr int int4_levels = 7;

/// A vector as its format holds it: x / scale rounded, times scale. The scale takes the largest entry to the format's largest number
/// (fp8: OCP E4M3, 448; int8: 127; int4: 7). bf16 and fp32 need none. Products are sums in fp32; of whole numbers they are exact.
class QuantisedProjection final : public Projection {
 public:
  explicit QuantisedProjection(KeyFormat format) : format_(format) {}
  bool keys_as_they_are() const override { return format_ == KeyFormat::fp32; }
  bool true_products() const override { return format_ == KeyFormat::fp32; }
  int levels() const override { return format_ == KeyFormat::int8 ? 127 : format_ == KeyFormat::int4 ? int4_levels : 0; }
  void query(float const* q, int d, float* out) const override { round(q, d, out); }
  void entry(float const* keys, int /*count*/, int d, float* out) const override { round(keys, d, out); }

 private:
  void round(float const* x, int d, float* out) const {
    static constexpr Rounding bf16(NumberFormat::bf16), fp8(NumberFormat::fp8);
    if (format_ == KeyFormat::fp32 || format_ == KeyFormat::bf16) {
      for (int c = 0; c < d; ++c) out[c] = format_ == KeyFormat::fp32 ? x[c] : static_cast<float>(bf16(x[c]));
    } else if (format_ == KeyFormat::fp8) {
      scaled_copy(
          x, d, 448.0f, [](float scaled) { return static_cast<float>(fp8(scaled)); }, out);
    } else {
      rounded_copy(x, d, levels(), out);
    }
  }

  KeyFormat format_;
};

/// Of channels with equal |q_c| the first.
class SparqProjection final : public Projection {
 public:
  explicit SparqProjection(int channels) : channels_(channels) {}
  bool keys_as_they_are() const override { return true; }
  void query(float const* q, int d, float* out) const override {
    std::vector<int> order(d);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [q](int a, int b) { return std::fabs(q[a]) > std::fabs(q[b]); });
    std::fill_n(out, d, 0.0f);
    for (int i = 0; i < std::min(channels_, d); ++i) out[order[i]] = q[order[i]];
  }

 private:
  int channels_;
};

/// (P^T q) . (P^T k) = (P P^T q) . k, with the r leading axes as the columns of P: keys are taken as they are.
class LokiProjection final : public Projection {
 public:
  explicit LokiProjection(int components) : components_(components) {}
  bool keys_as_they_are() const override { return true; }
  bool wants_calibration() const override { return true; }
  void calibrate(Calibration const& calibration) override { axes_ = principal_axes(calibration.keys, calibration.d); }
  void query(float const* q, int d, float* out) const override {
    std::vector<double> sum(d, 0.0);
    for (int a = 0; a < std::min(components_, d); ++a) {
      double const* axis = &axes_[std::int64_t{a} * d];
      double along = 0.0;
      for (int c = 0; c < d; ++c) along += axis[c] * q[c];
      for (int c = 0; c < d; ++c) sum[c] += along * axis[c];
    }
    for (int c = 0; c < d; ++c) out[c] = to_fp32(sum[c]);
  }

 private:
  int components_;
  std::vector<double> axes_;  ///< (d, d): the leading one first
};

}  // namespace asymptop
