#include "study/key_holders.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "row/row_lists.hpp"

namespace asymptop {
namespace {

/// Which rank holds a key.
class KeyHolders {
 public:
  explicit KeyHolders(SelectionBatch const& batch) {
    for (int r = 0; r < batch.comm.size(); ++r)
      shard_ends_.push_back(key_shard(batch.group.n, batch.setup.config->block, r, batch.comm.size()).end);
  }
  std::size_t operator()(GlobalIndex key) const {
    return std::upper_bound(shard_ends_.begin(), shard_ends_.end(), key) - shard_ends_.begin();
  }

 private:
  std::vector<GlobalIndex> shard_ends_;
};

/// How many messages it takes to ask for `keys` keys, of any rank, `together` in each; one without a limit.
Task<std::size_t> messages_for(SelectionBatch const& batch, std::size_t keys, std::size_t together) {
  if (together == all_keys) co_return 1;
  auto reducing = all_reduce(batch.comm, std::vector<std::int64_t>(1, (keys + together - 1) / together), MPI_MAX);
  auto const most = co_await reducing;
  co_return most[0];
}

/// The scores of some of them.
Task<std::vector<float>> ask_some_scores(SelectionBatch const& batch, std::span<WantedScore const> wanted, Projection const* estimate) {
  auto const& comm = batch.comm;
  std::size_t const ranks = comm.size();
  KeyHolders const holder_of(batch);
  std::vector<std::vector<std::int64_t>> asked(ranks);  // row and key
  std::vector<std::vector<std::size_t>> places(ranks);  // of the answers
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto const holder = holder_of(wanted[i].key);
    asked[holder].push_back(std::int64_t{wanted[i].row} << 32 | wanted[i].key);
    places[holder].push_back(i);
  }
  auto asking = all_to_all(comm, std::move(asked));
  auto const questions = co_await asking;
  std::vector<WantedScore> here;
  for (auto const& of_rank : questions) {
    for (auto const of : of_rank) here.push_back({of & 0xffffffff, checked_int(of >> 32)});
  }
  batch.phases.stop(Phase::merge);
  co_await batch.turn;
  batch.phases.start();
  auto const scores = scores_of(entry_rows_of(batch), here, *batch.setup.tensors, batch.phases, estimate);
  std::vector<std::vector<float>> answers(ranks);
  auto next = scores.begin();
  for (std::size_t r = 0; r < ranks; ++r) {
    auto const end = next + std::ssize(questions[r]);
    answers[r].assign(next, end);
    next = end;
  }
  auto answering = all_to_all(comm, std::move(answers));
  auto const answered = co_await answering;
  std::vector<float> found(wanted.size());
  for (std::size_t r = 0; r < ranks; ++r) {
    for (std::size_t i = 0; i < places[r].size(); ++i) found[places[r][i]] = answered[r][i];
  }
  batch.phases.stop(Phase::merge);
  co_return std::move(found);
}

/// Adds what some of them weigh to `outputs`.
Task<void> add_some_outputs(SelectionBatch const& batch, std::span<WantedOutput const> wanted, std::vector<double> const& sigmas,
                            std::vector<float> const& references, KeptOutputs& outputs) {
  auto const& comm = batch.comm;
  KeyHolders const holder_of(batch);
  std::vector<std::vector<std::int64_t>> kept(comm.size());  // triples of row, key, budget
  for (auto const& of : wanted) {
    auto& to = kept[holder_of(of.key)];
    to.insert(to.end(), {of.row, of.key, of.budget});
  }
  auto sending = all_to_all(comm, std::move(kept));
  std::vector<WantedOutput> here;
  for (auto const& of_rank : co_await sending) {
    for (std::size_t i = 0; i < of_rank.size(); i += 3)
      here.push_back({of_rank[i + 1], checked_int(of_rank[i]), checked_int(of_rank[i + 2])});
  }
  batch.phases.stop(Phase::merge);
  co_await batch.turn;
  batch.phases.start();
  add_outputs(entry_rows_of(batch), std::move(here), sigmas, references, factor_of_values(batch), *batch.setup.tensors, outputs);
  batch.phases.stop(Phase::attend);
}

}  // namespace

EntryRows entry_rows_of(SelectionBatch const& batch) {
  return entry_rows_of(batch.queries, batch.group, batch.shard, batch.setup.config->block);
}

FixedPoint factor_of_values(SelectionBatch const& batch) {
  return FixedPoint::make(batch.group.n, batch.setup.tensors->origin().form.largest);
}

Task<bool> any_left(SelectionBatch const& batch, std::size_t left) {
  auto reducing = all_reduce(batch.comm, std::vector<std::int64_t>(1, left), MPI_MAX);
  auto const most = co_await reducing;
  co_return most[0] > 0;
}

Task<std::vector<float>> ask_scores(SelectionBatch const& batch, std::vector<WantedScore> wanted, std::size_t together,
                                    Projection const* estimate) {
  auto counting = messages_for(batch, wanted.size(), together);
  auto const messages = co_await counting;
  std::vector<float> found;
  for (std::size_t message = 0; message < messages; ++message) {
    auto const begin = found.size(), count = std::min(wanted.size() - begin, together);
    auto asking = ask_some_scores(batch, {wanted.data() + begin, count}, estimate);
    auto const some = co_await asking;
    found.insert(found.end(), some.begin(), some.end());
  }
  co_return std::move(found);
}

Task<std::vector<double>> ask_outputs(SelectionBatch const& batch, std::vector<WantedOutput> wanted, std::vector<double> sigmas,
                                      std::vector<float> references, std::size_t budgets, std::size_t together) {
  auto const& comm = batch.comm;
  std::size_t const d = batch.group.d;
  int const all = int_size(batch.queries.position);
  auto gathering = all_gather(comm, std::move(references));
  auto const all_references = co_await gathering;
  KeptOutputs outputs{sigmas.size(), budgets, d + 1, {}};
  auto const of_row = outputs.laws * outputs.budgets * outputs.width;
  outputs.sums.assign(all * of_row, 0);
  auto counting = messages_for(batch, wanted.size(), together);
  auto const messages = co_await counting;
  std::size_t begin = 0;
  for (std::size_t message = 0; message < messages; ++message) {
    auto const count = std::min(wanted.size() - begin, together);
    auto adding = add_some_outputs(batch, {wanted.data() + begin, count}, sigmas, all_references, outputs);
    co_await adding;
    begin += count;
  }
  std::vector<int> rows(all);
  std::iota(rows.begin(), rows.end(), 0);
  auto summing = merge_profile(comm, std::move(outputs.sums), row_owners(rows, all, comm.size()), of_row);
  auto const sums = co_await summing;
  auto const factor = factor_of_values(batch);
  double const of_values = factor.value * batch.setup.tensors->origin().form.scale;
  std::vector<double> values;
  for (std::size_t i = 0; i < sums.size(); ++i) values.push_back(from_fixed(sums[i], i % outputs.width == d ? factor.weight : of_values));
  co_return std::move(values);
}

}  // namespace asymptop
