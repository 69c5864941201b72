#include "draw/orders/threshold_pass.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "config/errors.hpp"
#include "draw/orders/entries.hpp"
#include "draw/orders/key_scores.hpp"
#include "draw/row_batch.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"

namespace asymptop {
namespace {

using Host = Kokkos::DefaultHostExecutionSpace;

std::vector<int> all_rows(EntryRows const& rows) {
  std::vector<int> all(rows.queries.rows());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

/// A row under one law of sigma, on a step of keys.
struct RowOfStep {
  float const* estimates;
  float const* scores;
  double sigma, least, top;
};

constexpr std::int64_t strip = 256;

/// Keys [begin, end) of a step.
struct Strip {
  double e[strip];
  std::int64_t keeps[strip];  ///< 1 or 0
  std::int64_t count, kept = 0, dropped = 0;

  /// place: of the step's first key in the context.
  Strip(RowOfStep const& of, std::int64_t begin, std::int64_t end, double factor, KeyRun const& seen, GlobalIndex place,
        ForcedKeys const& forced)
      : count(end - begin) {
    float const *const estimates = of.estimates + begin, *const scores = of.scores + begin;
    double const sigma = of.sigma, least = of.least, top = of.top;
    std::int64_t keys = 0, sum = 0;
#pragma omp simd reduction(+ : keys, sum)
    for (std::int64_t l = 0; l < count; ++l) {
      e[l] = exp_fp64(sigma * (scores[l] - top));
      keeps[l] = sigma * estimates[l] >= least ? 1 : 0;
      keys += keeps[l];
      sum += keeps[l] != 0 ? 0 : to_fixed(e[l], factor);
    }
    kept = keys;
    dropped = sum;
    bool const any = place + begin < forced.first || place + end > forced.recent_begin(seen);
    for (std::int64_t l = 0; any && l < count; ++l) {
      if (keeps[l] != 0 || !forced.holds(place + begin + l, seen)) continue;
      keeps[l] = 1;
      kept += 1;
      dropped -= to_fixed(e[l], factor);
    }
  }

  /// to: d entries, then the weight.
  void add_values(std::int64_t begin, Matrix<RunSpace, float> const& values, KeptSums const& sums, std::int64_t* to) const {
    for (std::int64_t l = 0; l < count; ++l) {
      if (keeps[l] == 0) continue;
      for (int c = 0; c < sums.d; ++c) to[c] += to_fixed(e[l] * values(begin + l, c), sums.factor.value);
      to[sums.d] += to_fixed(e[l], sums.factor.weight);
    }
  }
};

}  // namespace

/// Steps of keys with their estimates, and their true scores where they are wanted.
class ThresholdPass::Walk {
 public:
  Walk(EntryRows const& rows, ThresholdSelector const& selector, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
      : rows_(rows),
        selector_(selector),
        tensors_(tensors),
        phases_(phases),
        step_(std::min(largest_step(rows.path, rows.block), most_keys) / key_group * key_group),
        keys_(rows, all_rows(rows), step_, tensors, phases) {
    auto const& estimate = selector.estimate();
    int const width = projected_width(rows, estimate);
    queries_ = packed_queries(all_rows(rows), project(rows, estimate, false), width);
    queries_.softcap = rows.softcap;
    queries_.alibi = rows.alibi_of(all_rows(rows));
    if (!estimate.keys_as_they_are()) entries_.emplace(step_, width, rows.key_d);
    estimates_ = HostScores("Asymptop::select::estimates", rows.queries.rows(), step_);
  }

  /// f(row, begin, end, keys, first) side by side for all rows: what each sees of a step, counted from its first key, the first-th of the
  /// shard.
  template <class Function>
  void each(bool true_scores, Function const& f) {
    for (GlobalIndex first = 0; first < rows_.shard.size(); first += step_) {
      int const count = count_within(rows_.shard.size() - first, step_);
      auto const keys = keys_.step(local_index(first), count);
      if (true_scores) keys_.score(keys, count);
      auto const estimated = selector_.estimate().true_products() ? keys : keys_.as_they_are(keys, count);
      float const* packed = estimated.data;
      if (entries_) {
        entries_->clear();
        entries_->fill_from(selector_.estimate(), estimated, 0, count);
        packed = entries_->tile().data;
      }
      score_packed(Host(), queries_, packed, count, estimates_, first);
      Host().fence();
      phases_.stop(Phase::score);
      auto const begin = rows_.shard.begin + first;
      f(local_index(first), count, [&](auto const& of_row) {
        Kokkos::parallel_for("Asymptop::select::threshold",
                             Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, checked_int(rows_.queries.rows())),
                             [&](int const row) {
                               auto const here = rows_.queries.seen(row).within(begin, begin + count);
                               of_row(row, here.begin - begin, here.end - begin);
                             });
        Host().fence();
      });
      phases_.stop(Phase::select);
    }
  }

  /// Of a step's keys.
  float const* estimates(int row) const { return &estimates_(row, 0); }
  float const* scores(int row) const { return keys_.of_row(row); }
  std::size_t rows() const { return rows_.queries.rows(); }
  KeyRun seen(int row) const { return rows_.queries.seen(row); }
  GlobalIndex shard_begin() const { return rows_.shard.begin; }
  ForcedKeys forced() const { return selector_.forced(); }
  ShardTensors<RunSpace>& tensors() { return tensors_; }

 private:
  static constexpr int most_keys = 4096;
  EntryRows const& rows_;
  ThresholdSelector const& selector_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  int step_;
  KeyScores keys_;
  PackedQueries queries_;
  std::optional<EntryTile> entries_;
  HostScores estimates_;
};

ThresholdPass::ThresholdPass(EntryRows const& rows, ThresholdSelector const& selector, ShardTensors<RunSpace>& tensors,
                             PhaseTimes& phases) {
  if constexpr (!is_host_space<RunSpace>) throw RunError("threshold runs on hosts");
  walk_ = std::make_unique<Walk>(rows, selector, tensors, phases);
}

ThresholdPass::~ThresholdPass() = default;

std::vector<double> ThresholdPass::largest() {
  std::vector<double> found(walk_->rows(), -std::numeric_limits<double>::infinity());
  walk_->each(false, [&](LocalIndex, int, auto const& each_row) {
    each_row([&](int row, std::int64_t begin, std::int64_t end) {
      float const* const s = walk_->estimates(row);
      for (auto at = begin; at < end; ++at) found[row] = std::max(found[row], double{s[at]});
    });
  });
  return found;
}

std::vector<std::int64_t> ThresholdPass::sums(std::vector<double> const& sigmas, std::vector<double> const& largest, double factor) {
  std::vector<std::int64_t> found(walk_->rows() * sigmas.size(), 0);
  walk_->each(false, [&](LocalIndex, int, auto const& each_row) {
    each_row([&](int row, std::int64_t begin, std::int64_t end) {
      float const* const s = walk_->estimates(row);
      for (std::size_t law = 0; law < sigmas.size(); ++law) {
        std::int64_t sum = 0;
        double const sigma = sigmas[law], top = largest[row];
#pragma omp simd reduction(+ : sum)
        for (auto at = begin; at < end; ++at) sum += to_fixed(exp_fp64(sigma * (s[at] - top)), factor);
        found[row * sigmas.size() + law] += sum;
      }
    });
  });
  return found;
}

std::vector<std::int64_t> ThresholdPass::kept(std::vector<double> const& least, KeptSums const& sums) {
  auto const laws = sums.sigmas.size();
  std::vector<std::int64_t> found(walk_->rows() * sums.width(), 0);
  walk_->each(true, [&](LocalIndex first, int count, auto const& each_row) {
    Matrix<RunSpace, float> values;
    if (sums.output) values = walk_->tensors().values(first, count, count);
    auto const place = walk_->shard_begin() + first;
    each_row([&](int row, std::int64_t begin, std::int64_t end) {
      for (std::size_t law = 0; law < laws; ++law) {
        RowOfStep const of{walk_->estimates(row), walk_->scores(row), sums.sigmas[law], least[row * laws + law], sums.score_max[row]};
        auto* const to = &found[row * sums.width() + law * sums.numbers_of_law()];
        for (auto at = begin; at < end; at += strip) {
          Strip const here(of, at, std::min(end, at + strip), sums.factor.weight, walk_->seen(row), place, walk_->forced());
          to[0] += here.kept;
          to[1] += here.dropped;
          if (sums.output) here.add_values(at, values, sums, to + 2);
        }
      }
    });
  });
  return found;
}

}  // namespace asymptop
