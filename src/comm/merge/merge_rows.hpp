// The four ways to merge, on rows that know their sources. Of merge_top_k alone.
#pragma once

#include <vector>

#include "comm/communicator.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "comm/task.hpp"

namespace asymptop {

/// Who owns which of a merge's rows: those of an owner are a run.
class RowRuns {
 public:
  RowRuns(std::vector<int> const& owners, int ranks);
  std::size_t begin(int rank) const { return edges_[rank]; }
  std::size_t size(int rank) const { return edges_[rank + 1] - begin(rank); }
  std::size_t all() const { return edges_.back(); }
  /// The run of one owner among all rows.
  std::span<SortedRow const> of(std::vector<SortedRow> const& rows, int rank) const {
    return std::span<SortedRow const>(rows).subspan(begin(rank), size(rank));
  }

 private:
  std::vector<std::size_t> edges_;
};

// rows: this rank's candidates of all rows, at most `keep` of each. Each returns the best `keep` of the rows that this rank owns.
Task<std::vector<SortedRow>> merge_by_root(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep);
Task<std::vector<SortedRow>> merge_by_owner(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep);
Task<std::vector<SortedRow>> merge_by_tree(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep);
Task<std::vector<SortedRow>> merge_by_threshold(Communicator const& comm, std::vector<SortedRow> rows, RowRuns runs, std::size_t keep);

/// messages[r]: `count` rows from rank r, each candidate from r itself. The best `keep` of every row.
std::vector<SortedRow> merge_messages(std::vector<std::vector<std::uint64_t>> const& messages, std::size_t count, std::size_t keep);

}  // namespace asymptop
