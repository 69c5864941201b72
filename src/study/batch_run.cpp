#include "study/batch_run.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "kernels/core/region.hpp"
#include "kernels/score/softcap.hpp"
#include "row/row_lists.hpp"
#include "study/selection.hpp"

namespace asymptop {
namespace {

/// Most rounds of narrowing before a quantile counts as unsettled.
constexpr std::size_t most_rounds = 24;

}  // namespace

Task<std::vector<OwnedRow>> BatchRun::run() {
  co_await profile_and_merge();
  if (progress_.stopped()) co_return std::move(rows_);
  co_await prepare_second_pass();
  for (std::size_t round = 0; co_await open_anywhere() && round < most_rounds; ++round) {
    co_await load_probes();
    co_await answer(round);
    if (progress_.stopped()) co_return std::move(rows_);
    if (round == 0) co_await take_sums();
    co_await take_answers();
  }
  check_rows();
  auto selecting = select();
  co_await selecting;
  co_return std::move(rows_);
}

std::vector<int> BatchRun::all_owners() const {
  std::vector<int> rows(queries_.rows());
  std::iota(rows.begin(), rows.end(), 0);
  return row_owners(rows, batch_.rows(), comm_.size());
}

std::vector<double> BatchRun::thresholds_of(int row) const {
  auto const visible = queries_.visible[row];
  if (visible == group_.n) return group_.threshold;
  std::vector<double> values;
  for (auto const& law : setup_.config->count_above) values.push_back(law(visible));
  return values;
}

Task<void> BatchRun::profile_and_merge() {
  auto const wanted = group_.kept_best() + 1;
  std::size_t const keep = std::min(wanted, group_.n);
  int const local_keep = checked_int(std::clamp<GlobalIndex>(shard_.size(), 1, keep));
  auto& first = partial().first;
  for (bool complete = false; !complete && !progress_.stopped();) {
    co_await turn_;
    auto const begin = PhaseTimes::Clock::now();
    double const between = phases_.seconds_between_steps();
    auto walk = walk_of(first.seen);
    auto const state = first_pass(space_, batch_.path(), tensors_, local_keep, true, walk, phases_);
    phases_.start();
    phases_.add(Phase::first_pass,
                std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count() - (phases_.seconds_between_steps() - between));
    double const messages = phases_.seconds(Phase::merge) + phases_.seconds(Phase::exposed);
    complete = !walk.left_early();
    co_await merge(state, keep, complete);
    if (keeps()) progress_.add_seen(shard_.begin, walk.seen(), first.seen);
    // The profile and top-k are whole now; what their messages cost this rank since the pass is part of them.
    phases_.add(Phase::first_pass, phases_.seconds(Phase::merge) + phases_.seconds(Phase::exposed) - messages);
    if (!complete) progress_.save();
  }
}

Task<void> BatchRun::merge(ShardRows const& state, std::size_t keep, bool complete) {
  auto& first = partial().first;
  bool const seen_before = !first.seen.empty();
  std::vector<GlobalIndex> shard_begin;
  for (int r = 0; r < comm_.size(); ++r) shard_begin.push_back(key_shard(group_.n, setup_.config->block, r, comm_.size()).begin);
  std::size_t const bins = std::int64_t{batch_.grid().count} * 3, ranks = comm_.size();
  for (auto const& rows : merge_groups(batch_.rows(), comm_.size(), merge_memory(group_.merge, comm_.size(), keep) + 16 * bins * ranks)) {
    auto const owner = row_owners(rows, batch_.rows(), comm_.size());
    auto merging = merge_top_k(comm_, group_.merge, sorted_lists(state.head, rows), owner, shard_begin, keep);
    auto heads = co_await merging;
    if (seen_before) {
      auto joining = join_earlier_heads(rows, owner, heads, keep);
      co_await joining;
    }
    std::vector<std::int64_t> profile;
    for (int const row : rows) {
      auto const* row_moments = &state.moments(row, 0, 0);
      profile.insert(profile.end(), row_moments, row_moments + bins);
      if (!seen_before || !comm_.is_root()) continue;
      auto* const to = &profile[profile.size() - bins];
      for (std::size_t i = 0; i < bins; ++i) to[i] += first.moments[row * bins + i];
    }
    auto summing = merge_profile(comm_, std::move(profile), owner, bins);
    auto const merged = co_await summing;
    if (keeps()) {
      auto keeping = keep_rows(rows, heads, merged);
      co_await keeping;
    }
    phases_.stop(Phase::merge);
    std::vector<int> mine;
    for (std::size_t i = 0; i < rows.size() && complete; ++i) {
      if (owner[i] == comm_.rank()) mine.push_back(rows[i]);
    }
    std::vector<std::vector<double>> thresholds;  // laws are evaluated one at a time
    for (int const row : mine) thresholds.push_back(thresholds_of(row));
    auto const known = rows_.size();
    rows_.resize(known + mine.size());
    Region const region("Asymptop: evaluate");
    for_each_row(mine.size(), [&](std::size_t i) { rows_[known + i] = evaluate(mine[i], heads[i], &merged[i * bins], thresholds[i]); });
    phases_.stop(Phase::evaluate);
  }
  std::sort(rows_.begin(), rows_.end(), [](OwnedRow const& a, OwnedRow const& b) { return a.row < b.row; });
}

Task<void> BatchRun::answer(std::size_t round) {
  auto& rounds = partial().rounds;
  if (round < rounds.size()) {
    if (comm_.is_root()) restore_answers(rounds[round]);
  } else {
    rounds.emplace_back();
  }
  for (bool complete = false; !complete && !progress_.stopped();) {
    co_await turn_;
    auto walk = walk_of(rounds[round].seen);
    auto const pass = batch_.path().second_pass(space_, work_, batch_.shard_begin(), round > 0);
    {
      Region const region("Asymptop: second pass");
      walk_keys(space_, *pass, tensors_, walk, phases_);
    }
    phases_.start();
    complete = !walk.left_early();
    if (keeps()) keep_answers(walk, rounds[round]);
    if (!complete) progress_.save();
  }
}

OwnedRow BatchRun::evaluate(int row, std::vector<Candidate> const& head, std::int64_t const* moments,
                            std::vector<double> const& thresholds) const {
  RowBins bins{batch_.grid(), batch_.first_bins()[row], {}};
  bins.bins.reserve(static_cast<std::size_t>(batch_.grid().count));
  for (int b = 0; b < batch_.grid().count; ++b) bins.bins.push_back({moments[3 * b], moments[3 * b + 1], moments[3 * b + 2]});
  // The sink beside logits of keys without their common offset.
  double const sink = group_.sink() - queries_.raised_by(row);
  return own_row(row, head, std::move(bins), axes_, thresholds, queries_.seen(row), !cases_.selectors.empty(), sink);
}

Task<bool> BatchRun::open_anywhere() {
  std::vector<std::int64_t> most{first_round_ ? 1 : 0};
  for (auto const& row : rows_) most[0] = std::max(most[0], std::ssize(row.evaluation.open));
  first_round_ = false;
  phases_.stop(Phase::evaluate);
  auto reducing = all_reduce(comm_, std::move(most), MPI_MAX);
  auto const of_any = co_await reducing;
  probes_per_row_ = of_any[0];
  co_return probes_per_row_ > 0;
}

void BatchRun::check_winners(OwnedRow const& row) {
  if constexpr (is_host_space<Space>) {
    // A file's rows are expensive to read one by one.
    if (setup_.file != nullptr && std::find(audited_.begin(), audited_.end(), row.row) == audited_.end()) return;
    std::size_t const d = group_.d, winners = row.boundaries.size();
    float const* q = &queries_.q[row.row * d];
    std::vector<float> key(d);
    for (auto const at : {std::size_t{0}, draw_ % winners, winners - 1}) {
      tensors_.key_of_row(row.boundaries[at].index, key.data());
      double score = 0.0, q_square = 0.0, key_square = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const a = q[c], b = key[c];
        score += a * b;
        q_square += a * a;
        key_square += b * b;
      }
      if (group_.form.softcap > 0.0) score = softcapped(score, group_.form.softcap);
      double bias = 0.0;
      if (group_.slope() != 0.0) {
        bias = group_.slope() * static_cast<double>(row.boundaries[at].index - queries_.place[row.row]);
        score += bias;
      }
      double const scale = std::max(smallest_product, std::sqrt(q_square * key_square + bias * bias)),
                   error = std::fabs(score - row.boundaries[at].score);
      for (auto& check : checks_) check.note(Check::audit_scores, error == 0.0 ? 0.0 : error / scale);
    }
  }
}

void BatchRun::check_rows() {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    auto const& row = rows_[i];
    check_winners(row);
    auto const above = edges_[2 * i] - row.above_edge, equal = row.equal_edge - edges_[2 * i + 1];
    for (std::size_t law = 0; law < checks_.size(); ++law) {
      auto& check = checks_[law];
      check.count(Check::keys_seen, std::abs(row.evaluation.keys_seen - row.visible));
      check.note(Check::score_range, row.evaluation.in_range ? 0.0 : 1.0);
      check.count(Check::top_k_count, std::max({std::abs(above), equal, std::int64_t{row.head_lacks}}));
      check.count(Check::quantiles_settled, std::ssize(row.evaluation.open));
      check.note(Check::sum_p, row.evaluation.sum_p[law]);
      check.note(Check::identity_kl, row.evaluation.identity_kl[law]);
    }
  }
}

Task<void> BatchRun::select() {
  std::vector<std::vector<CheckResiduals>> checks(cases_.selectors.size(), std::vector<CheckResiduals>(axes_.sigma.size()));
  if (!cases_.selectors.empty()) {
    auto selecting =
        select_keys({setup_, comm_, group_, queries_, shard_, first_row_, axes_, phases_, turn_}, *setup_.selectors, rows_, checks);
    co_await selecting;
  }
  // A selector's numbers lean on those of the oracle.
  for (std::size_t i = 0; i < group_.cases.size(); ++i) {
    auto& to = progress_.checks()[i];
    to.note(checks_[cases_.law_of_case[i]]);
    if (cases_.selector_of_case[i] > 0) to.note(checks[cases_.selector_of_case[i] - 1][cases_.law_of_case[i]]);
  }
}

}  // namespace asymptop
