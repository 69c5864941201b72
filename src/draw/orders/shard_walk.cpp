#include "draw/orders/shard_walk.hpp"

#include <cmath>

#include "config/errors.hpp"
#include "draw/orders/key_scores.hpp"
#include "draw/row_batch.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"
#include "kernels/core/region.hpp"
#include "shard/key_walk.hpp"

namespace asymptop {

namespace {

/// The best score of a bin or of one behind it.
float first_score(ScoreSteps const& steps, int bin) {
  auto behind = ordered_bits(-INFINITY), before = ordered_bits(INFINITY);
  while (before - behind > 1) {
    auto const middle = behind + (before - behind) / 2;
    (steps.bin_of(from_ordered_bits(middle)) >= bin ? behind : before) = middle;
  }
  return from_ordered_bits(behind);
}

}  // namespace

ShardPlace edge_of(ShardBracket const& bracket, Range const& shard, int bins, int i) {
  if (i == 0) return bracket.begin;
  if (i == bins) return bracket.end;
  auto begin = bracket.begin, end = bracket.end, edge = begin;
  if (begin.index >= shard.end) begin = {begin.worse + 1, shard.begin};
  if (end.index <= shard.begin && end.worse > 0) end = {end.worse - 1, shard.end};
  if (bracket.by_score()) {
    edge = place_of(first_score(ScoreSteps(bracket.high, bracket.low, bins), i), shard.begin);
  } else if (begin.worse < end.worse) {
    auto const values = std::uint64_t{end.worse} - begin.worse + 1;
    edge = {low_word(begin.worse + values * i / bins), shard.begin};
  } else {
    edge = {begin.worse, begin.index + (end.index - begin.index) * i / bins};
  }
  return std::clamp(edge, bracket.begin, bracket.end);
}

namespace {

class ShardWalk {
 public:
  ShardWalk(EntryRows const& rows, std::vector<Range> const& shards, std::vector<ShardQuestion> const& questions,
            std::vector<double> const& sigmas, double factor, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
      : rows_(rows),
        shards_(shards),
        questions_(questions),
        sigmas_(sigmas),
        factor_(factor),
        tensors_(tensors),
        phases_(phases),
        bins_(bins_of_bracket(int_size(shards))) {
    answers_.sums.resize(questions.size());
    answers_.entries.resize(questions.size());
    for (std::size_t i = 0; i < questions.size(); ++i) {
      if (asked_.empty() || questions[asked_.back().first].row != questions[i].row) {
        asked_.push_back({i, i});
        rows_asked_.push_back(questions[i].row);
      }
      asked_.back().end = i + 1;
      if (!questions[i].listed) answers_.sums[i].assign(2 * bins_ * shards.size(), 0);
    }
  }

  ShardAnswers run() {
    Region const region("Asymptop: orders");
    using Host = Kokkos::DefaultHostExecutionSpace;
    int const step = largest_step(rows_.path, rows_.block) / key_group * key_group;
    KeyScores scores(rows_, rows_asked_, step, tensors_, phases_);
    KeyWalk(rows_.shard.size()).run(step, [&](LocalIndex const first, int const count) {
      scores.score(scores.step(first, count), count);
      Host().fence();
      phases_.stop(Phase::score);
      Kokkos::parallel_for("Asymptop::select::shards", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, asked_.size()),
                           [&](int const i) { take(asked_[i], rows_.shard.begin + first, count, scores.of_row(i)); });
      Host().fence();
      phases_.stop(Phase::refine);
    });
    return std::move(answers_);
  }

 private:
  struct AskedQuestions {
    std::size_t first, end;
  };

  /// Keys [begin, begin + count) of the sequence, for the questions of one row. s: their scores.
  void take(AskedQuestions const& asked, GlobalIndex begin, int count, float const* s) {
    auto const seen = rows_.queries.seen(questions_[asked.first].row).within(begin, begin + count);
    auto const first_shard =
        std::upper_bound(shards_.begin(), shards_.end(), seen.begin, [](GlobalIndex at, Range const& shard) { return at < shard.begin; }) -
        shards_.begin() - 1;
    for (auto p = first_shard; p < std::ssize(shards_) && shards_[p].begin < seen.end; ++p) {
      auto const part = seen.within(shards_[p].begin, shards_[p].end);
      for (auto q = asked.first; q < asked.end && part.size() > 0; ++q) {
        if (!questions_[q].brackets[p].empty()) add(q, p, part, s + (part.begin - begin));
      }
    }
  }

  /// Keys of one shard, to one question. s: their scores.
  void add(std::size_t q, std::int64_t p, KeyRun const& part, float const* s) {
    auto const& question = questions_[q];
    auto const& bracket = question.brackets[p];
    double const sigma = sigmas_[question.law], top = question.top, factor = factor_;
    bool const by_score = bracket.by_score() && !question.listed;
    ScoreSteps const steps(by_score ? bracket.high : 1.0f, by_score ? bracket.low : 0.0f, bins_);
    std::vector<ShardPlace> edges;
    for (int i = 0; i <= bins_ && !by_score && !question.listed; ++i) edges.push_back(edge_of(bracket, shards_[p], bins_, i));
    auto const begin = bracket.begin, end = bracket.end;
    bool const all = begin.worse == 0 && end.worse == UINT32_MAX;
    auto* const sums = question.listed ? nullptr : &answers_.sums[q][2 * p * bins_];
    for (std::int64_t first = 0; first < part.size(); first += run_keys) {
      auto const keys = std::min<std::int64_t>(run_keys, part.size() - first);
      // All keys of a run alike, so that no bit of a mass depends on where the run lies.
      float scores[run_keys];
      std::int64_t masses[run_keys];
      int bins[run_keys];
      std::fill(std::copy_n(s + first, keys, scores), scores + run_keys, s[first]);
      if (!all && !any_between(bracket, scores)) continue;
#pragma omp simd
      for (int l = 0; l < run_keys; ++l) masses[l] = to_integer(exp_fp64(sigma * (scores[l] - top)) * factor + 0.5);
#pragma omp simd
      for (int l = 0; l < run_keys; ++l) bins[l] = steps.bin_of(scores[l]);
      if (all && by_score) {
        for (int l = 0; l < keys; ++l) {
          ++sums[2 * bins[l]];
          sums[2 * bins[l] + 1] += masses[l];
        }
        continue;
      }
      for (int l = 0; l < keys; ++l) {
        auto const place = place_of(scores[l], part.begin + first + l);
        if (place < begin || place >= end) continue;
        if (question.listed) {
          answers_.entries[q].push_back({checked_int(p), place, masses[l]});
          continue;
        }
        if (!by_score) bins[l] = checked_int(std::upper_bound(edges.begin(), edges.end() - 1, place) - edges.begin()) - 1;
        ++sums[2 * bins[l]];
        sums[2 * bins[l] + 1] += masses[l];
      }
    }
  }

  static bool any_between(ShardBracket const& bracket, float const* scores) {
    int found = 0;
#pragma omp simd reduction(+ : found)
    for (int l = 0; l < run_keys; ++l) {
      auto const worse = ~ordered_bits(scores[l]);
      found += worse >= bracket.begin.worse && worse <= bracket.end.worse ? 1 : 0;
    }
    return found > 0;
  }

  /// Keys that are looked at together.
  static constexpr int run_keys = 64;

  EntryRows const& rows_;
  std::vector<Range> const& shards_;
  std::vector<ShardQuestion> const& questions_;
  std::vector<double> const& sigmas_;
  double factor_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  int bins_;
  std::vector<AskedQuestions> asked_;  ///< per row that is asked about
  std::vector<int> rows_asked_;
  ShardAnswers answers_;
};

}  // namespace

ShardAnswers walk_shards(EntryRows const& rows, std::vector<Range> const& shards, std::vector<ShardQuestion> const& questions,
                         std::vector<double> const& sigmas, double factor, ShardTensors<RunSpace>& tensors, PhaseTimes& phases) {
  if constexpr (!is_host_space<RunSpace>) {
    throw RunError("selectors are measured on hosts");
  } else {
    return ShardWalk(rows, shards, questions, sigmas, factor, tensors, phases).run();
  }
}

}  // namespace asymptop
