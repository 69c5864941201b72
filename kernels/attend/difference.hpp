// The difference matrix D = P - P_hat of exact and top-k attention weights, never stored: its row sums and its products with vectors
// from scores that are made anew, for several k at once.
//
// With M the row's largest score, Z the sum of e^{sigma (s - M)} over all its keys and tau the share of the keys outside its head:
//   D_ij = e^{sigma (s_ij - M_i)} / Z_i                       for keys outside the head,
//   D_ij = -e^{sigma (s_ij - M_i)} / Z_i * tau_i / (1 - tau_i)   for the k keys in it.
// Every sum over strips of keys or over panels of rows is fixed point, and strips and panels are cut by their place in the sequence: ranks
// and threads cannot change a bit.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/candidate.hpp"
#include "../core/math.hpp"
#include "../core/work_split.hpp"
#include "../score/walk_panels.hpp"
#include "segments.hpp"

namespace asymptop {

/// What is known of a batch of rows of D; (rows, heads) where a number belongs to one of several k.
struct DifferenceRows {
  int heads = 0;  ///< how many k
  float sigma = 1.0f;
  std::vector<std::int64_t> limit;  ///< (rows): keys from number 0 on that the row sees
  std::vector<float> max;           ///< (rows): M
  std::vector<Candidate> edge;      ///< last key of each head in the total order
  std::vector<float> outside;       ///< 1 / Z
  std::vector<float> inside;        ///< -tau / (1 - tau) / Z

  std::size_t at(int row, int head) const { return std::int64_t{row} * heads + head; }
};

/// Sums over the keys outside a head, relative to the edge's score: e^y and e^{2y} with y = sigma (s - edge), fixed point with
/// FixedPoint's weight; and keys in the head, counted.
struct TailSums {
  std::int64_t weight = 0, square = 0, inside = 0;
};

inline namespace ASYMPTOP_SIMD_NAME {

template <class Space>
class DifferenceMatrix {
 public:
  /// strip: keys whose products are added up in floating point before they become integers; a function of the block length. Panels of
  /// `queries` must lie as the sequence has them (PackedQueries with a tile) where products with the transpose are asked for.
  DifferenceMatrix(PackedQueries const& queries, DifferenceRows const& rows, int strip, int threads)
      : queries_(queries), rows_(rows), ranges_(rows.limit), strip_(strip), threads_(threads) {}

  /// Adds keys [first, first + count), packed, to the tail sums (rows, heads). The parts of D's entries may be unknown still.
  template <class Between = NothingBetween>
  void add_tails(Space const& space, float const* packed, GlobalIndex first, int count, double factor, std::vector<TailSums>& sums,
                 Between const& between = {}) const {
    by_rows(space, packed, first, count, between, [&](PanelStrip const& place, float const* scores) {
      for (int r = 0; r < place.panel.rows; ++r) {
        for (int h = 0; h < rows_.heads; ++h) {
          auto const at = rows_.at(place.panel.first_row + r, h);
          add_tail(place, r, scores + r * score_strip, rows_.edge[at], factor, sums[at]);
        }
      }
    });
  }

  /// sums (rows, heads) += D x over keys [first, first + count), each times its row's scale. x (heads, stride): entry of the piece's key
  /// j at j.
  template <class Between = NothingBetween>
  void multiply(Space const& space, float const* packed, GlobalIndex first, int count, float const* x, std::ptrdiff_t stride,
                std::vector<double> const& scale, std::vector<std::int64_t>& sums, Between const& between = {}) const {
    by_rows(space, packed, first, count, between, [&](PanelStrip const& place, float const* scores) {
      alignas(64) float e[score_strip];
      for (int r = 0; r < place.panel.rows; ++r) {
        if (place.seen[r] == 0) continue;
        exponentials(place, r, scores + r * score_strip, e);
        for (int h = 0; h < rows_.heads; ++h) {
          auto const at = rows_.at(place.panel.first_row + r, h);
          sums[at] += to_fixed(dot(place, r, scores + r * score_strip, e, at, x + h * stride + place.begin), scale[at]);
        }
      }
    });
  }

  /// sums (heads, stride) += D^T y over the batch's rows for keys [first, first + count), times the scale of each head. y (rows, heads).
  template <class Between = NothingBetween>
  void multiply_transposed(Space const& space, float const* packed, GlobalIndex first, int count, std::vector<float> const& y,
                           std::vector<double> const& scale, std::int64_t* sums, std::ptrdiff_t stride, Between const& between = {}) const {
    int const strips = (count + strip_ - 1) / strip_;
    auto const* self = this;
    auto const* poll = &between;
    auto const* in = &y;
    auto const* factor = &scale;
    // Keys are split here: each key's sums belong to one worker.
    int const threads = threads_;
    Kokkos::parallel_for("Asymptop::attend::multiply_transposed",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, threads), [=](int const worker) {
                           for (int s = worker; s < strips; s += threads) {
                             Part const keys{s * self->strip_, std::min(count, (s + 1) * self->strip_)};
                             walk_panels(self->queries_, self->ranges_, packed, first, keys, self->strip_, 0, 1,
                                         [&](PanelStrip const& place, float const* scores) {
                                           self->add_columns(place, scores, *in, *factor, sums, stride);
                                           if (worker == 0) (*poll)();
                                         });
                           }
                         });
    space.fence();
  }

 private:
  /// Rows are split: each row's sums belong to one worker.
  template <class Between, class Visit>
  void by_rows(Space const& space, float const* packed, GlobalIndex first, int count, Between const& between, Visit const& visit) const {
    auto const* self = this;
    auto const* poll = &between;
    auto const* take = &visit;
    int const threads = threads_;
    Kokkos::parallel_for("Asymptop::attend::difference_rows",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, threads), [=](int const worker) {
                           walk_panels(self->queries_, self->ranges_, packed, first, Part{0, count}, self->strip_, worker, threads,
                                       [&](PanelStrip const& place, float const* scores) {
                                         (*take)(place, scores);
                                         if (worker == 0) (*poll)();
                                       });
                         });
    space.fence();
  }

  /// Keys of the strip that come no later than the edge in the sequence: among equal scores those are in the head.
  static int edge_place(PanelStrip const& place, Candidate const& edge) {
    return static_cast<int>(std::clamp<GlobalIndex>(edge.index - place.first, -1, score_strip));
  }

  static double sum_of_lanes(float const* lanes) {
    double total = 0.0;
    for (int l = 0; l < lanes_; ++l) total += lanes[l];
    return total;
  }

  void add_tail(PanelStrip const& place, int r, float const* scores, Candidate const& edge, double factor, TailSums& sums) const {
    int const seen = place.seen[r], last = edge_place(place, edge);
    float const bound = edge.score, sigma = rows_.sigma;
    float weight[lanes_] = {}, square[lanes_] = {};
    int inside = 0;
    for (int j = 0; j < seen; j += lanes_) {
#pragma omp simd reduction(+ : inside)
      for (int l = 0; l < lanes_; ++l) {
        float const s = scores[j + l];
        bool const visible = j + l < seen, in = (s > bound) | ((s == bound) & (j + l <= last));
        float const e = visible && !in ? exp_fp32(sigma * (s - bound)) : 0.0f;
        weight[l] += e;
        square[l] += e * e;
        inside += visible && in ? 1 : 0;
      }
    }
    sums.weight += to_fixed(sum_of_lanes(weight), factor);
    sums.square += to_fixed(sum_of_lanes(square), factor);
    sums.inside += inside;
  }

  /// e^{sigma (s - M)} of the strip's keys that the row sees, then zeros.
  void exponentials(PanelStrip const& place, int r, float const* scores, float* e) const {
    float const max = rows_.max[place.panel.first_row + r], sigma = rows_.sigma;
    int const seen = place.seen[r], whole = (place.most + lanes_ - 1) / lanes_ * lanes_;
#pragma omp simd
    for (int l = 0; l < whole; ++l) e[l] = l < seen ? exp_fp32(sigma * (scores[l] - max)) : 0.0f;
  }

  double dot(PanelStrip const& place, int r, float const* scores, float const* e, std::size_t at, float const* x) const {
    int const seen = place.seen[r], last = edge_place(place, rows_.edge[at]);
    float const bound = rows_.edge[at].score, outside = rows_.outside[at], inside = rows_.inside[at];
    float lanes[lanes_] = {};
    int const whole = seen / lanes_ * lanes_;
    for (int j = 0; j < whole; j += lanes_) {
#pragma omp simd
      for (int l = 0; l < lanes_; ++l) {
        bool const in = (scores[j + l] > bound) | ((scores[j + l] == bound) & (j + l <= last));
        lanes[l] += e[j + l] * (in ? inside : outside) * x[j + l];
      }
    }
    for (int j = whole; j < seen; ++j) {
      bool const in = (scores[j] > bound) | ((scores[j] == bound) & (j <= last));
      lanes[j - whole] += e[j] * (in ? inside : outside) * x[j];
    }
    return sum_of_lanes(lanes);
  }

  /// The panel's part of D^T y: a chain over its rows, then one integer a key.
  void add_columns(PanelStrip const& place, float const* scores, std::vector<float> const& y, std::vector<double> const& scale,
                   std::int64_t* sums, std::ptrdiff_t stride) const {
    static thread_local std::vector<float> columns;
    columns.assign(std::int64_t{rows_.heads} * score_strip, 0.0f);
    alignas(64) float e[score_strip];
    int const whole = (place.most + lanes_ - 1) / lanes_ * lanes_;
    for (int r = 0; r < place.panel.rows; ++r) {
      if (place.seen[r] == 0) continue;
      float const* s = scores + r * score_strip;
      exponentials(place, r, s, e);
      for (int h = 0; h < rows_.heads; ++h) {
        auto const at = rows_.at(place.panel.first_row + r, h);
        int const last = edge_place(place, rows_.edge[at]);
        float const bound = rows_.edge[at].score, outside = rows_.outside[at] * y[at], inside = rows_.inside[at] * y[at];
        float* sum = columns.data() + h * score_strip;
#pragma omp simd
        for (int l = 0; l < whole; ++l) {
          bool const in = (s[l] > bound) | ((s[l] == bound) & (l <= last));
          sum[l] += e[l] * (in ? inside : outside);
        }
      }
    }
    for (int h = 0; h < rows_.heads; ++h) {
      float const* sum = columns.data() + h * score_strip;
      std::int64_t* to = sums + h * stride + place.begin;
      double const factor = scale[h];
#pragma omp simd
      for (int l = 0; l < place.most; ++l) to[l] += to_fixed(sum[l], factor);
    }
  }

  static constexpr int lanes_ = 64;
  PackedQueries const& queries_;
  DifferenceRows const& rows_;
  KeyRanges ranges_;
  int strip_, threads_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
