#include "comm/merge_top_k.hpp"

#include <algorithm>

namespace asymptop {

std::vector<CandidateList> merge_top_k(Communicator const& comm, std::vector<std::vector<PackedCandidate>> const& lists,
                                       std::vector<int> const& owners, std::vector<GlobalIndex> const& shard_begin, std::size_t keep) {
  auto const ranks = static_cast<std::size_t>(comm.size());
  // Each message: the lengths of its lists, then the lists.
  std::vector<std::uint64_t> out;
  std::vector<std::size_t> counts(ranks, 0), received;
  std::size_t mine = 0;
  for (std::size_t r = 0, i = 0; r < ranks; ++r) {
    auto const start = out.size(), first = i;
    for (; i < owners.size() && owners[i] == static_cast<int>(r); ++i) out.push_back(std::min(keep, lists[i].size()));
    for (auto j = first; j < i; ++j) {
      auto const length = std::min(keep, lists[j].size());
      out.insert(out.end(), lists[j].begin(), lists[j].begin() + static_cast<std::ptrdiff_t>(length));
    }
    counts[r] = out.size() - start;
    if (static_cast<int>(r) == comm.rank()) mine = i - first;
  }
  auto const in = comm.all_to_all(out, counts, received);

  std::vector<CandidateList> merged(mine);
  CandidateList arrived, both;
  std::size_t base = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    std::size_t at = base + mine;
    for (std::size_t i = 0; i < mine; ++i) {
      auto const length = static_cast<std::size_t>(in[base + i]);
      arrived.clear();
      for (std::size_t j = 0; j < length; ++j) {
        arrived.push_back({score_of(in[at + j]), shard_begin[r] + static_cast<GlobalIndex>(index_of(in[at + j]))});
      }
      at += length;
      both.resize(merged[i].size() + arrived.size());
      std::merge(merged[i].begin(), merged[i].end(), arrived.begin(), arrived.end(), both.begin(), before);
      both.resize(std::min(both.size(), keep));
      merged[i] = both;
    }
    base += received[r];
  }
  return merged;
}

}  // namespace asymptop
