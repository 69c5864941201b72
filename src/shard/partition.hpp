// Who owns which keys and which rows.
//
//   blocks of keys   | 0 | 1 | 2 | 3 | 4 |      n = 5 blocks, 2 ranks
//   rank             |   0   |     1     |      rank r owns blocks [r B / P, (r + 1) B / P)
//
// A rank owns one run of whole blocks, so a key's tile, and with it every bit of its score, does not depend on the ranks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/core/types.hpp"

namespace asymptop {

/// A half-open range of global positions.
struct Range {
  GlobalIndex begin;
  GlobalIndex end;
  GlobalIndex size() const { return end - begin; }
};

inline Range key_shard(GlobalIndex n, GlobalIndex block, int rank, int ranks) {
  GlobalIndex const blocks = (n + block - 1) / block;
  auto const edge = [&](int r) { return std::min(n, blocks / ranks * r * block + blocks % ranks * r / ranks * block); };
  return {edge(rank), edge(rank + 1)};
}

/// Runs of whole blocks that a rank owns, ascending, none empty: one, or two for a causal mask, under which late rows have more to do.
///
///   pieces of keys   | 0 | 1 | 2 | 3 | 4 | 5 |      2 P pieces, 3 ranks
///   rank             | 0 | 1 | 2 | 2 | 1 | 0 |      rank r owns pieces r and 2 P - 1 - r
///
/// Between any two ranks' rows and keys lie two pairs of pieces to be worked on, or half of that within a rank: all have as much to do
/// at every step of a ring.
inline std::vector<Range> owned_runs(GlobalIndex n, GlobalIndex block, int rank, int ranks, bool causal) {
  std::vector<Range> runs;
  auto const add = [&](Range const& run) {
    if (run.size() > 0) runs.push_back(run);
  };
  if (!causal) {
    add(key_shard(n, block, rank, ranks));
  } else {
    add(key_shard(n, block, rank, 2 * ranks));
    add(key_shard(n, block, 2 * ranks - 1 - rank, 2 * ranks));
  }
  return runs;
}

/// Rows [0, rows) spread over owners in contiguous runs; owner r's run.
inline Range owned_rows(int rows, int rank, int ranks) {
  auto const edge = [&](int r) { return GlobalIndex{rows} * r / ranks; };
  return {edge(rank), edge(rank + 1)};
}

}  // namespace asymptop
