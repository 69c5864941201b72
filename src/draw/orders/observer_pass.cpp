#include "draw/orders/observer_pass.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "comm/collectives.hpp"
#include "config/errors.hpp"
#include "draw/orders/entries.hpp"
#include "draw/orders/key_scores.hpp"
#include "draw/row_batch.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"

namespace asymptop {
namespace {

/// Of weights: up to 2^10 queries add up in 64 bits.
constexpr double unit = 0x1p52;

/// Keys of a step, and numbers that ranks add up at once.
constexpr int most_keys = 4096;
constexpr std::int64_t most_summed = std::int64_t{1} << 20;

using Host = Kokkos::DefaultHostExecutionSpace;
using Policy = Kokkos::RangePolicy<Host>;

/// What a run of queries sees of the runs of keys, and its own place.
struct Observer {
  KeyRun seen;
  std::int64_t place;
};

/// Observers that rows go by: the earlier ones.
struct EarlyObservers {
  std::int64_t from;  ///< for rows that see keys up to before this place, at least
  std::size_t end;    ///< of the others, which come first
};

class ObserverPass {
 public:
  ObserverPass(Communicator const& comm, Observers const& wanted, EntryRows const& rows, ObservedContext const& context,
               ShardTensors<RunSpace>& tensors)
      : comm_(comm),
        rows_(rows),
        run_(wanted.run),
        by_distance_(wanted.by_distance),
        so_far_(wanted.so_far),
        n_(context.n),
        sinks_(rows.queries.rows(), wanted.run == 1 ? context.sink : -std::numeric_limits<double>::infinity()),
        filler_(tensors.origin().offset),
        step_(std::min(largest_step(rows.path, rows.block), most_keys) / std::max(run_, key_group) * std::max(run_, key_group)),
        keys_(rows, {}, step_, tensors, phases_) {
    std::int64_t const count = std::ssize(rows.queries.position), d = rows.d, width = run_ * d, all = (count + run_ - 1) / run_;
    // A common offset of the keys changes no softmax, but for a sink and the keys that a run lacks, which are 0 before it is taken off.
    for (std::int64_t i = 0; i < count; ++i) sinks_[count - 1 - i] -= rows.queries.raised_by(i);
    filler_.resize(d, 0.0f);
    for (auto& x : filler_) x = 0.0f - x;
    std::vector<float> queries(all * width, 0.0f);
    for (std::int64_t g = 0; g < all; ++g) {
      KeyRun seen(n_, 0);
      std::int64_t place = 0;
      for (std::int64_t i = 0; i < run_; ++i) {
        auto const query = count - run_ * (g + 1) + i;
        if (query < 0) continue;
        // Antidiagonals: the last query of the run meets the first key.
        auto* const to = &queries[g * width + (run_ - 1 - i) * d];
        for (std::int64_t c = 0; c < d; ++c) to[c] = rows.queries.q[query * d + c] / static_cast<float>(run_);
        auto const own = rows.queries.seen(query);
        if (own.size() > 0) seen = {std::min(seen.begin, own.begin), std::max(seen.end, own.end)};
        place = std::max(place, rows.queries.position[query]);
      }
      observers_.push_back({seen.end > seen.begin ? KeyRun{seen.first_page(run_), seen.end_page(run_)} : KeyRun{0, 0}, place});
    }
    find_parts(context.ends);
    queries_ = {queries.data(), checked_int(all), checked_int(width)};
    if (run_ == 1) {
      queries_.softcap = rows.softcap;
      std::vector<int> latest_first(observers_.size());
      std::iota(latest_first.rbegin(), latest_first.rend(), 0);
      queries_.alibi = rows.alibi_of(latest_first);
    }
    scores_ = HostScores("Asymptop::select::observers", observers_.size(), step_);
    weights_ = Kokkos::View<std::int64_t**, Kokkos::LayoutRight, Kokkos::HostSpace>("Asymptop::select::weights", observers_.size(), step_);
  }

  Observation run() {
    find_largest();
    find_sums();
    std::int64_t const parts = std::ssize(parts_), keys = (rows_.shard.size() + run_ - 1) / run_;
    std::vector<float> of_keys(parts * keys);
    std::vector<std::int64_t> of_distances(by_distance_ ? n_ : 0, 0);
    walk([&](std::int64_t first, int count) {
      find_weights(first, count);
      Kokkos::parallel_for("Asymptop::select::columns", Policy(0, (count + strip - 1) / strip), [&](int const s) {
        std::int64_t sums[strip] = {};
        int const begin = s * strip, here = std::min(strip, count - begin);
        auto observer = observers_.size();
        for (std::int64_t part = 0; part < parts; ++part) {
          for (; observer > parts_[part].end; --observer) {
            for (int l = 0; l < here; ++l) sums[l] += weights_(observer - 1, begin + l);
          }
          auto* const to = &of_keys[part * keys + first - rows_.shard.begin / run_ + begin];
          for (int l = 0; l < here; ++l) to[l] = number(sums[l]);
        }
      });
      if (by_distance_) add_distances(first, count, of_distances);
      Host().fence();
    });
    Observation found;
    if (so_far_) {
      found.of_keys = std::move(of_keys);
      found.first = rows_.shard.begin;
      found.keys = keys;
      for (auto const& part : parts_) found.from.push_back(part.from);
      return found;
    }
    // Shards ascend with ranks.
    found.of_keys = finish(all_gather(comm_, std::move(of_keys)));
    for (std::int64_t at = 0; at < std::ssize(of_distances); at += most_summed) {
      auto const end = std::min(std::ssize(of_distances), at + most_summed);
      auto const sums = finish(all_reduce(comm_, std::vector<std::int64_t>(&of_distances[at], &of_distances[at] + (end - at)), MPI_SUM));
      for (auto const sum : sums) found.of_distances.push_back(number(sum));
    }
    return found;
  }

 private:
  static constexpr int strip = 64;
  static float number(std::int64_t sum) { return to_fp32(from_fixed(sum, unit)); }

  /// Which observers the rows go by that see keys up to each of `ends`: the last ones of observers_, which has the latest first.
  void find_parts(std::vector<std::int64_t> const& ends) {
    if (!so_far_) {
      parts_ = {{0, 0}};
      return;
    }
    for (auto const end : ends) {
      auto const first = std::find_if(observers_.begin(), observers_.end(), [end](auto const& of) { return of.place < end; });
      auto const part = static_cast<std::size_t>(first - observers_.begin());
      if (parts_.empty() || parts_.back().end != part) parts_.push_back({first == observers_.end() ? 0 : first->place + 1, part});
    }
  }

  /// visit(first, count): scores_ is of runs [first, first + count) of the context's keys.
  template <class Visit>
  void walk(Visit const& visit) {
    int const d = rows_.d, width = run_ * d;
    for (GlobalIndex first = 0; first < rows_.shard.size(); first += step_) {
      int const keys = count_within(rows_.shard.size() - first, step_), count = (keys + run_ - 1) / run_;
      auto const tile = keys_.step(local_index(first), keys);
      if (run_ > 1) {
        runs_.resize(std::int64_t{count} * width);
        for (int j = 0; j < keys; ++j) copy_key(tile, j, &runs_[j * d]);
        for (int j = keys; j < count * run_; ++j) std::copy(filler_.begin(), filler_.end(), &runs_[j * d]);
        packed_.resize(packed_size(count, width));
        pack_keys(runs_.data(), count, width, packed_.data());
      }
      score_packed(Host(), queries_, run_ > 1 ? packed_.data() : tile.data, count, scores_, first);
      Host().fence();
      visit((rows_.shard.begin + first) / run_, count);
    }
  }

  /// f(i, begin, end): for each query, which of `count` runs from `first` on it sees.
  template <class Function>
  void each(std::int64_t first, int count, Function const& f) {
    Kokkos::parallel_for("Asymptop::select::observe", Policy(0, observers_.size()), [&](int const i) {
      auto const here = observers_[i].seen.within(first, first + count);
      f(i, here.begin - first, here.end - first);
    });
    Host().fence();
  }

  void find_largest() {
    std::vector<double> largest(observers_.size(), -std::numeric_limits<double>::infinity());
    walk([&](std::int64_t first, int count) {
      each(first, count, [&](int i, std::int64_t begin, std::int64_t end) {
        for (auto j = begin; j < end; ++j) largest[i] = std::max(largest[i], double{scores_(i, j)});
      });
    });
    largest_ = finish(all_reduce(comm_, std::move(largest), MPI_MAX));
  }

  void find_sums() {
    double const factor = FixedPoint::make(n_, 1.0).weight;
    std::vector<std::int64_t> sums(observers_.size(), 0);
    walk([&](std::int64_t first, int count) {
      each(first, count, [&](int i, std::int64_t begin, std::int64_t end) {
        std::int64_t sum = 0;
#pragma omp simd reduction(+ : sum)
        for (auto j = begin; j < end; ++j) sum += to_fixed(exp_fp64(scores_(i, j) - largest_[i]), factor);
        sums[i] += sum;
      });
    });
    auto const of_all = finish(all_reduce(comm_, std::move(sums), MPI_SUM));
    for (std::size_t i = 0; i < of_all.size(); ++i) {
      double const z = static_cast<double>(of_all[i]) + factor * std::exp(sinks_[i] - largest_[i]);
      per_weight_.push_back(of_all[i] > 0 ? unit * factor / z : 0.0);
    }
  }

  void find_weights(std::int64_t first, int count) {
    each(first, count, [&](int i, std::int64_t begin, std::int64_t end) {
      std::fill_n(&weights_(i, 0), count, 0);
#pragma omp simd
      for (auto j = begin; j < end; ++j) weights_(i, j) = to_fixed(exp_fp64(scores_(i, j) - largest_[i]), per_weight_[i]);
    });
  }

  /// Distance by distance, so that no two threads add to one number.
  void add_distances(std::int64_t first, int count, std::vector<std::int64_t>& sums) {
    auto const [low, high] =
        std::minmax_element(observers_.begin(), observers_.end(), [](auto const& a, auto const& b) { return a.place < b.place; });
    if (low == observers_.end()) return;
    auto const least = std::max<std::int64_t>(0, low->place - first - count + 1), end = std::min(n_, high->place - first + 1);
    Kokkos::parallel_for("Asymptop::select::diagonals", Policy(0, std::max<std::int64_t>(0, end - least)), [&](std::int64_t const o) {
      for (std::size_t i = 0; i < observers_.size(); ++i) {
        auto const key = observers_[i].place - (least + o) - first;
        if (key >= 0 && key < count) sums[least + o] += weights_(i, key);
      }
    });
  }

  Communicator const& comm_;
  EntryRows const& rows_;
  int run_;
  bool by_distance_, so_far_;
  GlobalIndex n_;
  std::vector<double> sinks_;  ///< per query that observes
  std::vector<float> filler_;  ///< (d): what stands for keys that a run lacks
  int step_;
  PhaseTimes phases_;
  KeyScores keys_;
  std::vector<Observer> observers_;
  std::vector<EarlyObservers> parts_;
  PackedQueries queries_;
  HostScores scores_;
  Kokkos::View<std::int64_t**, Kokkos::LayoutRight, Kokkos::HostSpace> weights_;  ///< (queries, runs of a step)
  std::vector<double> largest_, per_weight_;
  std::vector<float> runs_, packed_;
};

}  // namespace

Observation observe(Communicator const& comm, Observers const& wanted, EntryRows const& rows, ObservedContext const& context,
                    ShardTensors<RunSpace>& tensors) {
  if constexpr (!is_host_space<RunSpace>) {
    throw RunError("selectors are measured on hosts");
  } else {
    return ObserverPass(comm, wanted, rows, context, tensors).run();
  }
}

}  // namespace asymptop
