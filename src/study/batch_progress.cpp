// What rank 0 keeps of a batch in work, so that its draw may be left: whole heads, profiles, sums and answers, of all ranks together.
#include <algorithm>
#include <iterator>

#include "comm/collectives.hpp"
#include "config/errors.hpp"
#include "study/batch_run.hpp"

namespace asymptop {
namespace {

constexpr char const* wrong_size = "what an earlier run saved of this draw is of another size than its plan; remove it or use --force";

/// Rows' heads as a message.
struct HeadsMessage {
  std::vector<std::int64_t> integers;  ///< per row, its length and indices
  std::vector<float> scores;

  void add(CandidateList const& head) {
    integers.push_back(std::ssize(head));
    for (auto const& candidate : head) {
      integers.push_back(candidate.index);
      scores.push_back(candidate.score);
    }
  }
};

/// Calls take(head) for each row of a message.
template <class Take>
void for_each_head(std::vector<std::int64_t> const& integers, std::vector<float> const& scores, Take const& take) {
  auto score = scores.begin();
  for (auto next = integers.begin(); next != integers.end();) {
    CandidateList head(*next++);
    for (auto& candidate : head) candidate = {*score++, *next++};
    take(std::move(head));
  }
}

}  // namespace

KeyWalk BatchRun::walk_of(std::vector<Range> const& seen) {
  auto left = runs_left(shard_, seen);
  if (!keeps()) return KeyWalk(std::move(left));
  // As many parts on all ranks, as long as those of a whole pass, and never so many that none of them has keys.
  auto const block = setup_.config->block;
  GlobalIndex most_left = 0, largest = 0;
  for (int r = 0; r < comm_.size(); ++r) {
    auto const shard = key_shard(group_.n, block, r, comm_.size());
    most_left = std::max(most_left, keys_of(runs_left(shard, seen)) / block);
    largest = std::max(largest, shard.size() / block);
  }
  auto const parts = largest == 0 ? 1 : std::min(most_left, (most_left * group_.parts_per_pass + largest - 1) / largest);
  return KeyWalk(std::move(left), {checked_int(std::max<GlobalIndex>(1, parts)), block, [this] { return progress_.go_on(); }});
}

Task<void> BatchRun::join_earlier_heads(std::vector<int> const& rows, std::vector<int> const& owner, std::vector<CandidateList>& heads,
                                        std::size_t keep) {
  std::vector<std::vector<std::int64_t>> integers(comm_.size());
  std::vector<std::vector<float>> scores(integers.size());
  auto const& first = partial().first;
  if (comm_.is_root() && (first.heads.size() != queries_.rows() || first.moments.size() != queries_.rows() * batch_.grid().count * 3))
    throw RunError(wrong_size);
  for (std::size_t i = 0; i < rows.size() && comm_.is_root(); ++i) {
    HeadsMessage message;
    message.add(first.heads[rows[i]]);
    std::size_t const to = owner[i];
    integers[to].insert(integers[to].end(), message.integers.begin(), message.integers.end());
    scores[to].insert(scores[to].end(), message.scores.begin(), message.scores.end());
  }
  auto sending_integers = all_to_all(comm_, std::move(integers));
  auto const all_integers = co_await sending_integers;
  auto sending_scores = all_to_all(comm_, std::move(scores));
  auto const all_scores = co_await sending_scores;
  std::size_t row = 0;
  for_each_head(all_integers.front(), all_scores.front(), [&](CandidateList const& earlier) {
    auto& head = heads[row++];
    CandidateList both;
    std::merge(head.begin(), head.end(), earlier.begin(), earlier.end(), std::back_inserter(both), before);
    both.resize(std::min(both.size(), keep));
    head = std::move(both);
  });
}

Task<void> BatchRun::keep_rows(std::vector<int> const& rows, std::vector<CandidateList> const& heads,
                               std::vector<std::int64_t> const& moments) {
  std::size_t const ranks = comm_.size();
  HeadsMessage message;
  for (auto const& head : heads) message.add(head);
  // To rank 0 alone.
  std::vector<std::vector<std::int64_t>> integers(ranks), own_moments(ranks);
  std::vector<std::vector<float>> scores(ranks);
  integers.front() = std::move(message.integers);
  scores.front() = std::move(message.scores);
  own_moments.front() = moments;
  auto sending_integers = all_to_all(comm_, std::move(integers));
  auto const all_integers = co_await sending_integers;
  auto sending_scores = all_to_all(comm_, std::move(scores));
  auto const all_scores = co_await sending_scores;
  auto sending_moments = all_to_all(comm_, std::move(own_moments));
  auto const all_moments = co_await sending_moments;
  if (!comm_.is_root()) co_return;
  auto& first = partial().first;
  std::size_t const bins = std::int64_t{batch_.grid().count} * 3;
  first.heads.resize(queries_.rows());
  first.moments.resize(queries_.rows() * bins);
  // Owners are ascending, as the ranks are.
  std::size_t next = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    auto from = all_moments[r].begin();
    for_each_head(all_integers[r], all_scores[r], [&](CandidateList head) {
      std::size_t const row = rows[next++];
      first.heads[row] = std::move(head);
      std::copy_n(from, bins, first.moments.begin() + (row * bins));
      from += bins;
    });
  }
}

void BatchRun::restore_answers(PartialAnswers const& round) {
  std::size_t wanted = 0, next = 0;
  for_each_sum([&](auto const& view) { wanted += view.size(); });
  if (round.sums.size() != wanted || round.audit_worst.size() != audited_.size() ||
      round.inside.size() != queries_.rows() * probes_per_row_ || round.lengths.size() != round.inside.size())
    throw RunError(wrong_size);
  for_each_sum([&](auto const& view) {
    auto const host = Kokkos::create_mirror_view(view);
    std::copy_n(round.sums.begin() + next, view.size(), host.data());
    Kokkos::deep_copy(view, host);
    next += view.size();
  });
  auto const worst = Kokkos::create_mirror_view(work_.audit_worst);
  std::copy(round.audit_worst.begin(), round.audit_worst.end(), worst.data());
  Kokkos::deep_copy(work_.audit_worst, worst);
  earlier_inside_ = {round.inside, round.lengths, round.collected};
}

BatchRun::Inside BatchRun::inside_here() const {
  auto const fill = to_host(work_.probes.fill);
  auto const capacity = to_host(work_.probes.capacity);
  auto const begin = to_host(work_.probes.begin);
  auto const collected = to_host(work_.probes.collected);
  Inside inside;
  auto earlier = earlier_inside_.scores.begin();
  for (std::size_t i = 0; i < queries_.rows(); ++i) {
    for (std::size_t q = 0; q < probes_per_row_; ++q) {
      std::int64_t const length = std::min(fill(i, q), capacity(i, q));
      auto const* first = collected.data() + begin(i, q);
      inside.counts.push_back(fill(i, q));
      inside.lengths.push_back(length);
      inside.scores.insert(inside.scores.end(), first, first + length);
      if (earlier_inside_.counts.empty()) continue;
      auto const at = i * probes_per_row_ + q;
      auto const end = earlier + earlier_inside_.lengths[at];
      inside.counts.back() += earlier_inside_.counts[at];
      inside.lengths.back() += earlier_inside_.lengths[at];
      inside.scores.insert(inside.scores.end(), earlier, end);
      earlier = end;
    }
  }
  return inside;
}

void BatchRun::keep_answers(KeyWalk const& walk, PartialAnswers& round) {
  std::vector<std::int64_t> sums;
  for_each_sum([&](auto const& view) {
    auto const host = to_host(view);
    sums.insert(sums.end(), host.data(), host.data() + host.size());
  });
  auto const audit = to_host(work_.audit_worst);
  std::vector<double> worst(audit.data(), audit.data() + audit.size());
  comm_.max(worst);
  auto const inside = inside_here();
  std::size_t const ranks = comm_.size();
  std::vector<std::int64_t> numbers = sums;
  numbers.insert(numbers.end(), inside.counts.begin(), inside.counts.end());
  std::vector<std::size_t> all_to_root(ranks, 0);
  all_to_root.front() = numbers.size();
  numbers = comm_.reduce_scatter(numbers, all_to_root);
  std::vector<std::vector<std::int64_t>> lengths(ranks);
  std::vector<std::vector<float>> scores(ranks);
  lengths.front() = inside.lengths;
  scores.front() = inside.scores;
  auto const all_lengths = finish(all_to_all(comm_, std::move(lengths)));
  auto const all_scores = finish(all_to_all(comm_, std::move(scores)));
  progress_.add_seen(shard_.begin, walk.seen(), round.seen);
  if (!comm_.is_root()) return;
  std::ptrdiff_t const windows = inside.counts.size();
  round.sums.assign(numbers.begin(), numbers.end() - windows);
  round.inside.assign(numbers.end() - windows, numbers.end());
  round.audit_worst = std::move(worst);
  round.lengths.assign(inside.counts.size(), 0);
  round.collected.clear();
  std::vector<std::ptrdiff_t> next(ranks, 0);
  for (std::size_t i = 0; i < inside.counts.size(); ++i) {
    for (std::size_t r = 0; r < ranks; ++r) {
      auto const from = all_scores[r].begin() + next[r];
      std::ptrdiff_t const length = all_lengths[r][i];
      round.collected.insert(round.collected.end(), from, from + length);
      round.lengths[i] += length;
      next[r] += length;
    }
  }
}

}  // namespace asymptop
