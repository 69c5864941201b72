#include "bench/bench_check.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <sstream>

#include "draw/row_batch.hpp"
#include "kernels/reference/attention_row.hpp"
#include "row/row_partial.hpp"
#include "row/tolerances.hpp"
#include "shard/key_walk.hpp"

namespace asymptop {
namespace {

double relative(double measured, double reference) { return std::fabs(measured - reference) / std::max(std::fabs(reference), 1e-290); }

/// A checked row with what its owner reported.
struct CheckedRow {
  std::vector<float> q;
  double q_norm = 0.0;
  std::vector<Candidate> list;      ///< as reported, best first
  std::vector<Candidate> by_index;  ///< the same, by index
};

class AnswerCheck {
 public:
  AnswerCheck(BenchProblem const& problem, std::vector<int> const& rows, BenchAnswer const& answer)
      : problem_(problem), rows_(rows), answer_(answer), checked_(rows.size()), partials_(rows.size()) {
    std::size_t const d = problem.item.d;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto const first = problem.queries.q.begin() + (rows[i] * d);
      checked_[i].q.assign(first, first + d);
      checked_[i].q_norm = norm(checked_[i].q.data(), problem.item.d);
    }
  }

  std::vector<Residual> run() {
    if (takes_k(problem_.item.kernel)) share_lists();
    pass_over_keys();
    compare_rows();
    return residuals();
  }

 private:
  bool attends() const { return takes_values(problem_.item.kernel); }
  /// A list that is no selection makes all that follows from it meaningless.
  bool lists_usable() const { return wrong_lists_ == 0; }

  /// Every rank needs the lists: it checks the keys that it owns.
  void share_lists() {
    std::vector<float> scores;
    std::vector<std::int64_t> indices;
    std::size_t const k = problem_.item.k;
    std::int64_t wrong = 0;
    for (auto const& row : answer_.rows) {
      wrong += row.top_k.size() == k ? 0 : 1;
      for (std::size_t i = 0; i < row.top_k.size(); ++i) {
        auto const& c = row.top_k[i];
        wrong += c.index < 0 || c.index >= problem_.item.n || !std::isfinite(c.score) ? 1 : 0;
        if (i > 0) wrong += before(row.top_k[i - 1], c) ? 0 : 1;
        scores.push_back(c.score);
        indices.push_back(c.index);
      }
    }
    scores = problem_.comm.all_gather(scores);
    indices = problem_.comm.all_gather(indices);
    std::vector<std::int64_t> counts{wrong, std::ssize(answer_.rows)};
    problem_.comm.sum(counts);
    wrong_lists_ = counts[0] + std::abs(counts[1] - std::ssize(rows_));
    if (scores.size() != k * rows_.size()) wrong_lists_ += wrong_lists_ == 0 ? 1 : 0;
    if (!lists_usable()) return;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto& row = checked_[i];
      for (std::size_t j = i * k; j < (i + 1) * k; ++j) row.list.push_back({scores[j], indices[j]});
      row.by_index = row.list;
      std::sort(row.by_index.begin(), row.by_index.end(), [](Candidate const& a, Candidate const& b) { return a.index < b.index; });
    }
  }

  /// One step: a piece of keys for each thread. Pieces are joined in order.
  void pass_over_keys() {
    constexpr int piece_keys = 1024;
    using Host = Kokkos::DefaultHostExecutionSpace;
    int const threads = Host().concurrency(), tile = threads * piece_keys;
    ShardTensors<RunSpace> tensors(problem_.space, problem_.shard, problem_.item.d, tile, false, KeyLayout::rows);
    tensors.load(problem_.origin);
    int const items = int_size(rows_);
    KeyWalk(problem_.shard.size()).run(tile, [&](LocalIndex first, int count) {
      auto const keys = to_host(tensors.keys(first, count, tile));
      auto const values = attends() ? to_host(tensors.values(first, count, tile)) : decltype(keys){};
      int const pieces = (count + piece_keys - 1) / piece_keys;
      std::vector<PieceResult> results(pieces * items);
      Kokkos::parallel_for(
          "Asymptop::measure::check", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, pieces * items), [&](int const e) {
            int const begin = e / items * piece_keys, end = std::min(count, begin + piece_keys);
            results[e] = check_piece(e % items, first + begin, end - begin, &keys(begin, 0), attends() ? &values(begin, 0) : nullptr);
          });
      Host().fence();
      for (std::size_t e = 0; e < results.size(); ++e) {
        partials_[e % rows_.size()].join(results[e].partial);
        note(scores_, results[e].scores);
        note(missed_, results[e].missed);
      }
    });
  }

  struct PieceResult {
    Partial partial;
    double scores = 0.0, missed = 0.0;
  };

  /// Keys [first, first + count) of the shard for one row.
  PieceResult check_piece(std::size_t item, GlobalIndex first, int count, float const* keys, float const* values) const {
    auto const d = problem_.item.d;
    auto const& row = checked_[item];
    std::vector<float> const some_keys(keys, keys + count * d);
    auto logits = reference::logits(row.q, some_keys, count, d, 1.0);
    PieceResult result;
    std::vector<float> some_values;
    if (values != nullptr) some_values.assign(values, values + count * d);
    if (problem_.item.kernel == BenchKernel::score) check_scores(item, first, logits, keys, result);
    if (takes_k(problem_.item.kernel) && lists_usable()) check_list(row, first, logits, keys, some_values, result);
    if (problem_.item.kernel != BenchKernel::score && problem_.item.kernel != BenchKernel::top_k)
      result.partial = partial_of(logits, some_values, d);
    return result;
  }

  void check_scores(std::size_t item, GlobalIndex first, std::vector<double> const& logits, float const* keys, PieceResult& result) const {
    GlobalIndex const held = answer_.scores.size() / rows_.size();
    for (std::int64_t j = 0; j < std::ssize(logits); ++j) {
      auto const at = first + j - answer_.first_key;
      if (at < 0 || at >= held) continue;
      double const score = answer_.scores[item * held + at];
      note(result.scores, std::fabs(score - logits[j]) / norms(checked_[item], keys, j));
    }
  }

  /// For top-k attention the logits and values that stay are those of the list's members.
  void check_list(CheckedRow const& row, GlobalIndex first, std::vector<double>& logits, float const* keys, std::vector<float>& values,
                  PieceResult& result) const {
    auto const begin = problem_.shard.begin + first;
    auto next = std::lower_bound(row.by_index.begin(), row.by_index.end(), begin,
                                 [](Candidate const& c, GlobalIndex index) { return c.index < index; });
    double const last = row.list.back().score;
    std::vector<double> member_logits;
    std::vector<float> member_values;
    std::size_t const d = problem_.item.d;
    for (std::int64_t j = 0; j < std::ssize(logits); ++j) {
      bool const member = next != row.by_index.end() && next->index == begin + j;
      if (!member) {
        if (!(logits[j] <= last)) note(result.missed, (logits[j] - last) / norms(row, keys, j));
        continue;
      }
      note(result.scores, std::fabs(next->score - logits[j]) / norms(row, keys, j));
      ++next;
      if (values.empty()) continue;
      member_logits.push_back(logits[j]);
      auto const v = values.begin() + (j * d);
      member_values.insert(member_values.end(), v, v + d);
    }
    if (problem_.item.kernel != BenchKernel::top_k_attention) return;
    logits = std::move(member_logits);
    values = std::move(member_values);
  }

  double norms(CheckedRow const& row, float const* keys, std::size_t j) const {
    return std::max(row.q_norm * norm(keys + j * problem_.item.d, problem_.item.d), 1e-290);
  }

  /// Partials of all ranks and the reported rows meet on rank 0.
  void compare_rows() {
    std::size_t const d = problem_.item.d, width = 4 + (attends() ? d : 0), items = rows_.size();
    std::vector<double> mine;
    for (auto const& partial : partials_) {
      auto const& p = partial.profile;
      mine.insert(mine.end(), {p.log_sum_exp, p.entropy_nats, p.sum_p_squared, p.p_max});
      auto output = partial.output;
      output.resize(width - 4, 0.0);
      mine.insert(mine.end(), output.begin(), output.end());
    }
    auto const all = problem_.comm.gather(mine);
    std::vector<double> reported;
    for (auto const& row : answer_.rows) {
      auto const& part = attends() ? row.output : row.profile;
      reported.insert(reported.end(), part.begin(), part.end());
    }
    reported = problem_.comm.gather(reported);
    bool const compared = attends() || problem_.item.kernel == BenchKernel::profile;
    if (!problem_.comm.is_root() || !compared) return;
    auto const length = attends() ? d : 4;
    if (reported.size() != items * length) {
      (attends() ? output_ : profile_) = infinity;
      return;
    }
    for (std::size_t i = 0; i < items; ++i) {
      Partial whole;
      for (std::size_t at = i * width; at < all.size(); at += items * width) {
        Partial part;
        part.profile = {all[at], all[at + 1], all[at + 2], all[at + 3]};
        part.output.assign(&all[at] + 4, &all[at] + width);
        whole.join(part);
      }
      compare_row(whole, &reported[i * length]);
    }
  }

  void compare_row(Partial const& whole, double const* reported) {
    auto const& p = whole.profile;
    log_sum_exp_ = std::max(log_sum_exp_, std::fabs(p.log_sum_exp));
    if (!attends()) {
      note(profile_, std::fabs(reported[0] - p.log_sum_exp) / std::max(1.0, std::fabs(p.log_sum_exp)));
      note(profile_, std::fabs(reported[1] - p.entropy_nats) / std::max(1.0, p.entropy_nats));
      note(profile_, relative(reported[2], p.sum_p_squared));
      note(profile_, relative(reported[3], p.p_max));
      return;
    }
    double difference = 0.0, square = 0.0;
    for (std::size_t c = 0; c < whole.output.size(); ++c) {
      difference += (reported[c] - whole.output[c]) * (reported[c] - whole.output[c]);
      square += whole.output[c] * whole.output[c];
    }
    note(output_, std::sqrt(difference / std::max(square, 1e-290)));
  }

  std::vector<Residual> residuals() {
    std::vector<double> worst{scores_, missed_, profile_, output_, log_sum_exp_};
    problem_.comm.max(worst);
    double const score = score_tolerance(problem_.item.d), sums = sums_tolerance(problem_.item.d, worst[4]);
    auto const kernel = problem_.item.kernel;
    std::vector<Residual> found;
    if (kernel != BenchKernel::exact_attention) found.push_back({"scores", worst[0], score});
    if (takes_k(kernel)) {
      found.push_back({"top_k_order", exact_double(wrong_lists_), 0.0});
      found.push_back({"top_k_missed", lists_usable() ? worst[1] : infinity, score});
    }
    if (kernel == BenchKernel::profile) found.push_back({"profile", worst[2], sums});
    auto const* path = find_path(problem_.item.path);
    if (attends()) found.push_back({"output", lists_usable() ? worst[3] : infinity, sums + (path != nullptr ? path->output_error : 0.0)});
    if (kernel == BenchKernel::score) found.push_back({"keys_covered", keys_uncovered(), 0.0});
    return found;
  }

  /// Scores that should have been reported and were not: all ranks must hold the last keys of their shards.
  double keys_uncovered() const {
    GlobalIndex const held = answer_.scores.size() / rows_.size();
    bool const to_the_end = answer_.first_key + held == problem_.shard.size();
    bool const enough = held > 0 || problem_.shard.size() == 0;
    return problem_.comm.max(to_the_end && enough ? 0.0 : 1.0);
  }

  BenchProblem const& problem_;
  std::vector<int> const& rows_;
  BenchAnswer const& answer_;
  std::vector<CheckedRow> checked_;
  std::vector<Partial> partials_;
  std::int64_t wrong_lists_ = 0;
  double scores_ = 0.0, missed_ = 0.0, profile_ = 0.0, output_ = 0.0, log_sum_exp_ = 0.0;
};

}  // namespace

std::vector<int> rows_to_check(std::int64_t m, std::int64_t n) {
  constexpr std::int64_t scores = std::int64_t{1} << 22, most_rows = 16;
  auto const count = std::min(m, std::clamp<std::int64_t>(scores / n, 2, most_rows));
  std::vector<int> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(checked_int(count == 1 ? 0 : i * (m - 1) / (count - 1)));
  return rows;
}

std::vector<Residual> check_answer(BenchProblem const& problem, std::vector<int> const& rows, BenchAnswer const& answer) {
  if (problem.item.kernel == BenchKernel::normals) return check_normals(problem, answer);
  if (problem.item.kernel == BenchKernel::merge) return check_merge(problem, rows, answer);
  return AnswerCheck(problem, rows, answer).run();
}

}  // namespace asymptop
