// Neighbours merge pairwise. After each step a block of ranks that is twice as long has merged lists, and each of its ranks holds half as
// many rows, so that messages halve while the blocks double:
//
//   rank                  0     1     2     3         rows of owners that a rank holds lists of
//   one's own lists     0123  0123  0123  0123
//   blocks of 2         0 2   1 3   0 2   1 3         owners alike in their last bit
//   blocks of 4         0     1     2     3           ... in their last two bits
//
// A block that is cut short by the last rank has fewer ranks than kinds of owners; some of them hold several kinds.
#include <algorithm>
#include <map>

#include "comm/exchange.hpp"
#include "comm/merge/merge_rows.hpp"

namespace asymptop {
namespace {

/// Which of a block's first `ranks` ranks holds the owners of one kind: those whose number leaves `kind` when divided by the block's whole
/// length. ranks <= length.
int holder(int length, int ranks, int kind) {
  if (length == 1) return 0;
  int const half = length / 2;
  if (ranks <= half) return holder(half, ranks, kind % half);
  return kind < half ? kind : half + holder(half, ranks - half, kind - half);
}

/// Who gives whose rows to whom when a block's halves merge: for each partner of this rank, the owners, ascending.
struct Step {
  std::map<int, std::vector<int>> gives, takes;
};

Step plan_step(int rank, int ranks, int half) {
  Step step;
  int const left = rank / (2 * half) * (2 * half), right = left + half, right_ranks = std::min(half, ranks - right);
  if (right_ranks <= 0) return step;
  for (int owner = 0; owner < ranks; ++owner) {
    int const kind = owner % half, of_left = left + kind, of_right = right + holder(half, right_ranks, kind);
    bool const to_left = owner % (2 * half) < half;
    int const from = to_left ? of_right : of_left, to = to_left ? of_left : of_right;
    if (rank == from) step.gives[to].push_back(owner);
    if (rank == to) step.takes[from].push_back(owner);
  }
  return step;
}

}  // namespace

Task<std::vector<SortedRow>> merge_by_tree(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep) {
  for (int half = 1; half < comm.size(); half *= 2) {
    auto const step = plan_step(comm.rank(), comm.size(), half);
    auto const sources = half == 1 ? Sources::sender : Sources::each;
    std::vector<std::vector<std::uint64_t>> messages;
    std::vector<Outgoing<std::uint64_t>> out;
    std::vector<int> senders;
    messages.reserve(step.gives.size());
    for (auto const& [to, owners] : step.gives) {
      std::vector<SortedRow> given;
      for (int const owner : owners) {
        for (auto i = runs.begin(owner); i < runs.begin(owner) + runs.size(owner); ++i) given.push_back(std::move(rows[i]));
      }
      messages.push_back(row_message(given, sources));
      out.push_back({to, messages.back()});
    }
    for (auto const& [from, owners] : step.takes) senders.push_back(from);
    Exchange<std::uint64_t> exchange(comm, out, senders);
    auto const received = co_await exchange;
    std::size_t next = 0;
    for (auto const& [from, owners] : step.takes) {
      std::vector<std::size_t> taken;
      for (int const owner : owners) {
        for (auto i = runs.begin(owner); i < runs.begin(owner) + runs.size(owner); ++i) taken.push_back(i);
      }
      auto const parts = rows_of_message(received[next++], taken.size(), sources, from);
      bool const from_right = from > comm.rank();
      for_each_row(taken.size(), [&](std::size_t i) {
        auto& row = rows[taken[i]];
        row = from_right ? merge_best(row, parts[i], keep) : merge_best(parts[i], row, keep);
      });
    }
  }
  auto const first = rows.begin() + runs.begin(comm.rank());
  auto const last = first + runs.size(comm.rank());
  co_return std::vector<SortedRow>(std::make_move_iterator(first), std::make_move_iterator(last));
}

}  // namespace asymptop
