// Heads of rows in the memory of a GPU, best first and zeros after them: what becomes of them from step to step and over ranks.
#pragma once

#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Heads where they rest in device memory.
struct HeadsOnDevice {
  std::uint64_t const* heads = nullptr;  ///< (rows, keep): PackedCandidate; null: there are none
  int keep = 0;
};

/// Heads of keys and of those after them, each best first, into one: `later` counts its keys from `first` on. In device memory, and not in
/// place. Where `thresholds` (rows) is not null it gets the score of each row's last head, -inf where the row has fewer than keep.
struct HeadsMerge {
  int rows;
  std::uint64_t const* earlier;  ///< (rows, earlier_keep)
  int earlier_keep;
  std::uint64_t const* later;  ///< (rows, later_keep)
  int later_keep;
  std::uint32_t first;
  std::uint64_t* heads;  ///< (rows, keep)
  int keep;
  float* thresholds;
};
/// Without waiting.
void merge_heads(Stream stream, HeadsMerge const& merge);

/// scores (rows): of each row's `keep`-th candidate, -inf where it has fewer. Without waiting.
void last_scores(Stream stream, HeadsOnDevice const& heads, int rows, float* scores);

/// edges (rows, 2): the best candidate of each row and its last one, its `keep`-th or the last that there is; zeros for none. Without
/// waiting.
void head_edges(Stream stream, HeadsOnDevice const& heads, int rows, std::uint64_t* edges);

/// What part of a rank's heads the selection over all ranks kept, in device memory.
struct WinnersSearch {
  int rows;
  HeadsOnDevice heads;         ///< of this rank; keys are counted from its first
  std::uint32_t first;         ///< the number of that key in the sequence
  std::uint64_t const* edges;  ///< (rows, 2): head_edges() of the selection, whose keys are counted over the sequence
  int* counts;                 ///< (rows): how many of a row's head are winners
  float* best;                 ///< (rows): the best winner's score
};
/// Without waiting.
void find_winners(Stream stream, WinnersSearch const& search);

/// The first `most` of a rank's own heads, without a word to the others.
struct OwnWinners {
  int rows;
  HeadsOnDevice heads;
  int most;
  int* counts;       ///< (rows): how many of a row's head they are
  float* best;       ///< (rows): the best one's score, -inf for none
  std::int64_t* to;  ///< (rows, stride): the bits of `best` go to the first place
  int stride;
};
/// Without waiting.
void take_own_winners(Stream stream, OwnWinners const& winners);

}  // namespace asymptop::device
