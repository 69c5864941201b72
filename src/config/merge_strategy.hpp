// How ranks agree on the k largest of every row. All give the same bytes; src/comm/README.md compares them.
#pragma once

namespace asymptop {

enum class MergeStrategy {
  automatic,  ///< what the plan's cost model finds cheapest
  root,       ///< all lists go to rank 0, finished rows from there to their owners
  owner,      ///< each row's lists go to the rank that owns it
  tree,       ///< neighbours merge pairwise, each keeping half of the rows, log2(ranks) times
  threshold,  ///< owners find a score just under each row's k-th first, then only what is above it goes to them
  device      ///< as owner, from the memory of one GPU to that of another, where lists rest there
};
/// Those of lists that lie in the memory of hosts.
inline constexpr MergeStrategy all_merge_strategies[] = {MergeStrategy::root, MergeStrategy::owner, MergeStrategy::tree,
                                                         MergeStrategy::threshold};

inline char const* name_of(MergeStrategy value) {
  switch (value) {
    case MergeStrategy::automatic:
      return "auto";
    case MergeStrategy::root:
      return "root";
    case MergeStrategy::owner:
      return "owner";
    case MergeStrategy::tree:
      return "tree";
    case MergeStrategy::threshold:
      return "threshold";
    case MergeStrategy::device:
      return "device";
  }
  return "";
}

}  // namespace asymptop
