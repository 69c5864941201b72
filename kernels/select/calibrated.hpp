// Orders by copies of the keys that are chosen from a sample of them beforehand.
//
//   double-sparsity  the r channels that weigh most in a sample's products, the key's in 4 bits (Double Sparsity, arXiv 2408.07092)
//   pq, clusters     keys replaced by the nearest of some centroids, in each of several stretches of channels, or in one (PQCache,
//                    arXiv 2407.12820; ClusterKV, arXiv 2412.03213)
//   infllm           blocks by a few representatives (InfLLM, arXiv 2402.04617)
#pragma once

#include <cmath>
#include <limits>
#include <numeric>

#include "../core/counts.hpp"
#include "../core/math.hpp"
#include "approximate_scores.hpp"
#include "selector.hpp"

namespace asymptop {

/// Channels by mean |q_c| mean |k_c| over the sample, of equal ones the first: what a channel adds to |q . k| when queries and keys are
/// taken independently. The key's channels are whole numbers from -7 to 7 times a scale of their own, the query's as they are.
class DoubleSparsityProjection final : public Projection {
 public:
  explicit DoubleSparsityProjection(int channels) : channels_(channels) {}
  int width(int d) const override { return std::min(channels_, d); }
  bool wants_calibration() const override { return true; }
  bool wants_queries() const override { return true; }
  void calibrate(Calibration const& calibration) override {
    std::size_t const d = calibration.d;
    auto const mean_sizes = [d](std::vector<float> const& rows) {
      std::vector<double> mean(d, 0.0);
      for (std::size_t i = 0; i < rows.size(); ++i) mean[i % d] += std::fabs(rows[i]) / exact_double(rows.size() / d);
      return mean;
    };
    auto const of_keys = mean_sizes(calibration.keys), of_queries = mean_sizes(calibration.queries);
    chosen_.resize(d);
    std::iota(chosen_.begin(), chosen_.end(), 0);
    std::stable_sort(chosen_.begin(), chosen_.end(),
                     [&](auto a, auto b) { return of_keys[a] * of_queries[a] > of_keys[b] * of_queries[b]; });
    chosen_.resize(width(calibration.d));
  }
  void query(float const* q, int /*d*/, float* out) const override {
    for (auto const c : chosen_) *out++ = q[c];
  }
  void entry(float const* key, int /*count*/, int /*d*/, float* out) const override {
    for (std::size_t i = 0; i < chosen_.size(); ++i) out[i] = key[chosen_[i]];
    rounded_copy(out, int_size(chosen_), int4_levels, out);
  }

 private:
  int channels_;
  std::vector<std::size_t> chosen_;
};

/// Centroids by Lloyd's iterations from evenly spaced vectors of the sample; one that no vector is nearest to stays where it is.
class Centroids {
 public:
  /// vectors: (count, step) of which columns [begin, begin + width) are meant; as many centroids as `wanted`, or as vectors there are.
  Centroids(std::vector<float> const& vectors, std::size_t step, std::size_t begin, std::size_t width, std::size_t wanted, int iterations)
      : width_(width), count_(std::min(wanted, vectors.size() / step)), at_(width * count_) {
    std::size_t const all = vectors.size() / step;
    for (std::size_t i = 0; i < count_; ++i) {
      for (std::size_t c = 0; c < width; ++c) at_[c * count_ + i] = vectors[all * i / count_ * step + begin + c];
    }
    std::vector<double> sum(width * count_);
    std::vector<std::size_t> members(count_);
    std::vector<float> distance(count_);
    for (int iteration = 0; iteration < iterations; ++iteration) {
      std::fill(sum.begin(), sum.end(), 0.0);
      std::fill(members.begin(), members.end(), 0);
      for (std::size_t v = 0; v < all; ++v) {
        float const* const x = &vectors[v * step + begin];
        auto const i = nearest(x, distance.data());
        ++members[i];
        for (std::size_t c = 0; c < width; ++c) sum[c * count_ + i] += x[c];
      }
      for (std::size_t i = 0; i < count_; ++i) {
        for (std::size_t c = 0; c < width && members[i] > 0; ++c)
          at_[c * count_ + i] = to_fp32(sum[c * count_ + i] / exact_double(members[i]));
      }
    }
  }

  std::size_t count() const { return count_; }
  std::size_t width() const { return width_; }

  /// Of equally near ones the first. distance: room for count() numbers.
  std::size_t nearest(float const* x, float* distance) const {
    std::fill_n(distance, count_, 0.0f);
    for (std::size_t c = 0; c < width_; ++c) {
      float const* const column = &at_[c * count_];
      float const value = x[c];
#pragma omp simd
      for (std::size_t i = 0; i < count_; ++i) distance[i] += (value - column[i]) * (value - column[i]);
    }
    return std::min_element(distance, distance + count_) - distance;
  }

  void copy(std::size_t i, float* out) const {
    for (std::size_t c = 0; c < width_; ++c) out[c] = at_[c * count_ + i];
  }

 private:
  std::size_t width_, count_;
  std::vector<float> at_;  ///< (width, count): a loop over centroids is one over neighbours
};

/// Channels in `parts` stretches, the p-th from d p / parts to d (p + 1) / parts; keys are replaced in each by the nearest of its
/// centroids.
class CentroidProjection final : public Projection {
 public:
  CentroidProjection(int parts, int centroids, int iterations) : parts_(parts), centroids_(centroids), iterations_(iterations) {}
  bool wants_calibration() const override { return true; }
  void calibrate(Calibration const& calibration) override {
    books_.clear();
    int const d = calibration.d, parts = std::min(parts_, d);
    for (int p = 0; p < parts; ++p) {
      std::size_t const begin = d * p / parts, end = d * (p + 1) / parts;
      books_.emplace_back(calibration.keys, d, begin, end - begin, centroids_, iterations_);
    }
  }
  void query(float const* q, int d, float* out) const override { std::copy_n(q, d, out); }
  void entry(float const* key, int /*count*/, int /*d*/, float* out) const override {
    static thread_local std::vector<float> distance;
    for (auto const& book : books_) {
      distance.resize(std::max(distance.size(), book.count()));
      book.copy(book.nearest(key, distance.data()), out);
      key += book.width();
      out += book.width();
    }
  }

 private:
  int parts_, centroids_, iterations_;
  std::vector<Centroids> books_;  ///< per stretch of channels
};

/// A block's priority is the sum of q . k over its representatives: the keys with the largest products with the sample's mean query, of
/// equal ones the first.
class InfllmProjection final : public Projection {
 public:
  InfllmProjection(int block, int representatives) : block_(block), representatives_(representatives) {}
  int page() const override { return block_; }
  /// Representatives lie anywhere in the block.
  SlopeOf slope_of() const override { return SlopeOf::unknown; }
  bool wants_calibration() const override { return true; }
  bool wants_queries() const override { return true; }
  void calibrate(Calibration const& calibration) override {
    std::size_t const d = calibration.d, count = calibration.queries.size() / d;
    std::vector<double> mean(d, 0.0);
    for (std::size_t i = 0; i < calibration.queries.size(); ++i)
      mean[i % d] += calibration.queries[i] / exact_double(std::max<std::size_t>(count, 1));
    mean_.assign(mean.begin(), mean.end());
  }
  void query(float const* q, int d, float* out) const override { std::copy_n(q, d, out); }
  void entry(float const* keys, int count, int d, float* out) const override {
    std::vector<std::pair<float, int>> order;
    for (int j = 0; j < count; ++j) {
      float product = 0.0f;
      for (int c = 0; c < d; ++c) product = std::fma(mean_[c], keys[j * d + c], product);
      order.emplace_back(-product, j);
    }
    auto const kept = std::min(representatives_, count);
    std::partial_sort(order.begin(), order.begin() + kept, order.end());
    std::fill_n(out, d, 0.0f);
    for (int i = 0; i < kept; ++i) {
      for (int c = 0; c < d; ++c) out[c] += keys[order[i].second * d + c];
    }
  }

 private:
  int block_, representatives_;
  std::vector<float> mean_;
};

}  // namespace asymptop
