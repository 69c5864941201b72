#include "comm/merge/merge_top_k.hpp"

#include <algorithm>

#include "comm/collectives.hpp"
#include "comm/exchange.hpp"
#include "comm/merge/merge_rows.hpp"
#include "config/errors.hpp"
#include "kernels/core/region.hpp"

namespace asymptop {
namespace {

/// Lists with their source, cut to what a merge may keep.
std::vector<SortedRow> rows_of(std::vector<std::vector<PackedCandidate>> lists, std::size_t keep, int rank) {
  std::vector<SortedRow> rows(lists.size());
  for_each_row(lists.size(), [&](std::size_t i) {
    rows[i].entries = std::move(lists[i]);
    rows[i].entries.resize(std::min(rows[i].entries.size(), keep));
    rows[i].set_source(rank);
  });
  return rows;
}

Task<std::vector<SortedRow>> merge_rows(Communicator const& comm, MergeStrategy strategy, std::vector<SortedRow> rows, RowRuns runs,
                                        std::size_t keep) {
  switch (strategy) {
    case MergeStrategy::root:
      return merge_by_root(comm, std::move(rows), std::move(runs), keep);
    case MergeStrategy::owner:
      return merge_by_owner(comm, std::move(rows), std::move(runs), keep);
    case MergeStrategy::tree:
      return merge_by_tree(comm, std::move(rows), std::move(runs), keep);
    case MergeStrategy::threshold:
      return merge_by_threshold(comm, std::move(rows), std::move(runs), keep);
    case MergeStrategy::automatic:
    case MergeStrategy::device:
      break;
  }
  throw RunError("a merge of lists on hosts needs a strategy that is settled");
}

}  // namespace

RowRuns::RowRuns(std::vector<int> const& owners, int ranks) : edges_(ranks + 1, owners.size()) {
  for (int r = 0; r < ranks; ++r) edges_[r] = std::lower_bound(owners.begin(), owners.end(), r) - owners.begin();
}

std::vector<SortedRow> merge_messages(std::vector<std::vector<std::uint64_t>> const& messages, std::size_t count, std::size_t keep) {
  Region const region("Asymptop: merge");
  std::vector<std::vector<SortedRow>> parts;
  int sender = 0;
  for (auto const& message : messages) parts.push_back(rows_of_message(message, count, Sources::sender, sender++));
  std::vector<SortedRow> merged(count);
  for_each_row(count, [&](std::size_t row) {
    std::vector<SortedRow> of_row;
    for (auto& part : parts) of_row.push_back(std::move(part[row]));
    merged[row] = merge_best(std::move(of_row), keep);
  });
  return merged;
}

Task<std::vector<SortedRow>> merge_by_owner(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep) {
  std::vector<std::vector<std::uint64_t>> messages;
  for (int r = 0; r < comm.size(); ++r) messages.push_back(row_message(runs.of(rows, r), Sources::sender));
  auto exchanged = all_to_all(comm, std::move(messages));
  auto const received = co_await exchanged;
  co_return merge_messages(received, runs.size(comm.rank()), keep);
}

Task<std::vector<SortedRow>> merge_by_root(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep) {
  // All lists to rank 0, which merges every row.
  std::vector<std::vector<std::uint64_t>> lists(comm.size());
  if (comm.is_root()) {
    auto const others = other_ranks(comm);
    Exchange<std::uint64_t> exchange(comm, {}, others);
    auto received = co_await exchange;
    lists[0] = row_message(rows, Sources::sender);
    for (std::size_t i = 0; i < others.size(); ++i) lists[others[i]] = std::move(received[i]);
    auto const merged = merge_messages(lists, runs.all(), keep);
    // Finished rows to their owners.
    std::vector<Outgoing<std::uint64_t>> out;
    for (int const r : others) {
      lists[r] = row_message(runs.of(merged, r), Sources::each);
      out.push_back({r, lists[r]});
    }
    Exchange<std::uint64_t> home(comm, out, {});
    co_await home;
    auto const mine = runs.of(merged, 0);
    co_return std::vector<SortedRow>(mine.begin(), mine.end());
  }
  lists[0] = row_message(rows, Sources::sender);
  std::vector<Outgoing<std::uint64_t>> const out{{0, lists[0]}};
  Exchange<std::uint64_t> exchange(comm, out, {});
  co_await exchange;
  std::vector<int> const senders{0};
  Exchange<std::uint64_t> home(comm, {}, senders);
  auto const received = co_await home;
  co_return rows_of_message(received[0], runs.size(comm.rank()), Sources::each, 0);
}

Task<std::vector<CandidateList>> merge_top_k(Communicator const& comm, MergeStrategy strategy,
                                             std::vector<std::vector<PackedCandidate>> lists, std::vector<int> owners,
                                             std::vector<GlobalIndex> shard_begin, std::size_t keep) {
  if (comm.size() > most_merging_ranks) throw RunError("lists of over 65536 ranks cannot be merged");
  std::vector<CandidateList> merged(lists.size());
  if (comm.size() == 1 && strategy != MergeStrategy::automatic) {  // the lists are those of all keys already
    for_each_row(lists.size(), [&](std::size_t row) {
      auto& list = lists[row];
      merged[row].resize(std::min(list.size(), keep));
      for (std::size_t i = 0; i < merged[row].size(); ++i) merged[row][i] = {score_of(list[i]), shard_begin.front() + index_of(list[i])};
      list = {};
    });
    co_return std::move(merged);
  }
  auto rows = rows_of(std::move(lists), keep, comm.rank());
  auto merging = merge_rows(comm, strategy, std::move(rows), RowRuns(owners, comm.size()), keep);
  rows = co_await merging;
  merged.resize(rows.size());
  for_each_row(rows.size(), [&](std::size_t row) {
    merged[row] = global_candidates(rows[row], shard_begin);
    rows[row] = {};  // plans count one form of a row at a time
  });
  co_return std::move(merged);
}

std::size_t merge_memory(MergeStrategy strategy, int ranks, std::size_t keep) {
  std::size_t const all = ranks;
  switch (strategy) {
    case MergeStrategy::root:
      return 8 * keep * all * all;
    case MergeStrategy::threshold:
      return 12 * keep + 256 * all;
    default:
      return 8 * keep * all;
  }
}

}  // namespace asymptop
