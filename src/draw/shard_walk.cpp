#include "draw/shard_walk.hpp"

#include <cmath>

#include "config/errors.hpp"
#include "draw/row_batch.hpp"
#include "kernels/core/math.hpp"
#include "kernels/core/pack_keys.hpp"
#include "kernels/score/score_packed.hpp"
#include "shard/key_walk.hpp"

namespace asymptop {

void find_edges(ShardBracket const& bracket, Range const& shard, int bins, std::vector<ShardPlace>& edges) {
  auto begin = bracket.begin, end = bracket.end;
  if (begin.index >= shard.end) begin = {begin.worse + 1, shard.begin};
  if (end.index <= shard.begin && end.worse > 0) end = {end.worse - 1, shard.end};
  edges.assign(bins + 1, bracket.begin);
  for (int i = 1; i < bins; ++i) {
    auto& edge = edges[i];
    if (bracket.high > bracket.low) {
      // The first bin lies above `high`, the last one below `low`.
      double const high = bracket.high, low = bracket.low;
      edge = place_of(static_cast<float>(high - (high - low) * (i - 1) / (bins - 2)), shard.begin);
    } else if (begin.worse < end.worse) {
      auto const values = std::uint64_t{end.worse} - begin.worse + 1;
      edge = {static_cast<std::uint32_t>(begin.worse + values * i / bins), shard.begin};
    } else {
      edge = {begin.worse, begin.index + (end.index - begin.index) * i / bins};
    }
    edge = std::clamp(edge, bracket.begin, bracket.end);
  }
  edges[bins] = bracket.end;
}

namespace {

using ShardScores = Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace>;

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
        bins_(bins_of_bracket(static_cast<int>(shards.size()))) {
    answers_.sums.resize(questions.size());
    answers_.entries.resize(questions.size());
    std::vector<float> q;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      if (asked_.empty() || questions[asked_.back().first].row != questions[i].row) {
        asked_.push_back({i, i});
        auto const* from = &rows.queries.q[questions[i].row * std::int64_t{rows.d}];
        q.insert(q.end(), from, from + rows.d);
      }
      asked_.back().end = i + 1;
      if (!questions[i].listed) answers_.sums[i].assign(2 * bins_ * shards.size(), 0);
    }
    queries_ = PackedQueries(q.data(), static_cast<int>(asked_.size()), rows.d);
  }

  ShardAnswers run() {
    using Host = Kokkos::DefaultHostExecutionSpace;
    int const step = static_cast<int>(largest_step(rows_.path, rows_.block) / key_group * key_group);
    ShardScores const scores("Asymptop::select::scores", asked_.size(), step);
    bool const packed = rows_.path.keys == KeyLayout::packed;
    std::vector<float> packed_keys(packed ? 0 : packed_size(step, rows_.d));
    KeyWalk walk(rows_.shard.size());
    walk.run(step, [&](LocalIndex const first, int const count) {
      phases_.between_steps();
      phases_.start();
      auto const keys = tensors_.key_tile(first, count, count);
      if (!packed) pack_keys(keys.data, count, rows_.d, packed_keys.data());
      phases_.stop(Phase::generate);
      score_packed(Host(), queries_, packed ? keys.data : packed_keys.data(), count, scores);
      Host().fence();
      phases_.stop(Phase::score);
      Kokkos::parallel_for("Asymptop::select::shards", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, asked_.size()),
                           [&](int const i) { take(asked_[i], rows_.shard.begin + first, count, &scores(i, 0)); });
      Host().fence();
      phases_.stop(Phase::refine);
    });
    return std::move(answers_);
  }

 private:
  struct AskedQuestions {
    std::size_t first, end;
  };

  std::int64_t mass_of(double y) const { return static_cast<std::int64_t>(exp_fp64(y) * factor_ + 0.5); }

  /// Keys [begin, begin + count) of the sequence, for the questions of one row. s: their scores.
  void take(AskedQuestions const& asked, GlobalIndex begin, int count, float const* s) {
    auto const visible = rows_.queries.visible[questions_[asked.first].row];
    auto const end = std::clamp<GlobalIndex>(visible, begin, begin + count);
    auto const first_shard =
        std::upper_bound(shards_.begin(), shards_.end(), begin, [](GlobalIndex at, Range const& shard) { return at < shard.begin; }) -
        shards_.begin() - 1;
    for (auto p = first_shard; p < std::ssize(shards_) && shards_[p].begin < end; ++p) {
      Range const part{std::max(begin, shards_[p].begin), std::min(end, shards_[p].end)};
      for (auto q = asked.first; q < asked.end && part.size() > 0; ++q) {
        if (!questions_[q].brackets[p].empty()) add(q, p, part, s + (part.begin - begin));
      }
    }
  }

  /// Keys of one shard, to one question. s: their scores.
  void add(std::size_t q, std::int64_t p, Range const& part, float const* s) {
    static thread_local std::vector<ShardPlace> edges;
    auto const& question = questions_[q];
    auto const& bracket = question.brackets[p];
    double const sigma = sigmas_[question.law], top = question.top;
    bool const by_score = bracket.high > bracket.low;
    double const per_bin = by_score ? (bins_ - 2) / (static_cast<double>(bracket.high) - bracket.low) : 0.0;
    double const last_bin = bins_ - 1.0;
    constexpr int run = 64;
    if (!question.listed) find_edges(bracket, shards_[p], bins_, edges);
    for (std::int64_t first = 0; first < part.size(); first += run) {
      auto const keys = std::min<std::int64_t>(run, part.size() - first);
      // All keys of a run alike, so that no bit of a mass depends on where the run lies.
      float scores[run];
      std::int64_t masses[run];
      int bins[run];
      std::fill(std::copy_n(s + first, keys, scores), scores + run, scores[0]);
      int found = 0;
#pragma omp simd reduction(+ : found)
      for (int l = 0; l < run; ++l) {
        auto const worse = ~ordered_bits(scores[l]);
        found += worse >= bracket.begin.worse && worse <= bracket.end.worse ? 1 : 0;
      }
      if (found == 0) continue;
#pragma omp simd
      for (int l = 0; l < run; ++l) {
        double const score = scores[l];
        masses[l] = mass_of(sigma * (score - top));
        bins[l] = static_cast<int>(std::min(std::max((bracket.high - score) * per_bin + 1.0, 0.0), last_bin));
      }
      for (int l = 0; l < keys; ++l) {
        auto const place = place_of(scores[l], part.begin + first + l);
        if (place < bracket.begin || place >= bracket.end) continue;
        if (question.listed) {
          answers_.entries[q].push_back({static_cast<int>(p), place, masses[l]});
          continue;
        }
        int bin = bins[l];
        if (by_score) {
          while (place < edges[bin]) --bin;
          while (place >= edges[bin + 1]) ++bin;
        } else {
          bin = static_cast<int>(std::upper_bound(edges.begin(), edges.end() - 1, place) - edges.begin()) - 1;
        }
        auto* const to = &answers_.sums[q][2 * (p * bins_ + bin)];
        ++to[0];
        to[1] += masses[l];
      }
    }
  }

  EntryRows const& rows_;
  std::vector<Range> const& shards_;
  std::vector<ShardQuestion> const& questions_;
  std::vector<double> const& sigmas_;
  double factor_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  int bins_;
  std::vector<AskedQuestions> asked_;  ///< per row that is asked about
  PackedQueries queries_;
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
