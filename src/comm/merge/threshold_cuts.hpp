// Where a row's lists are cut so that little more than its k best remain, from samples of the lists alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace asymptop {

/// Places (from 1) at which a sorted list of some length is sampled: 1, 2, ..., 10, 12, 14, 16, 19, ..., each at most a fifth further than
/// the last, and the list's end.
std::vector<std::uint32_t> sampled_places(std::uint32_t length);

/// The ordered score bits at the sampled places of one rank's list.
struct Samples {
  std::vector<std::uint32_t> places;
  std::uint32_t const* bits;
};

/// Candidates of a list that remain: those with at least these ordered score bits, and no more than `most`.
struct Cut {
  std::uint32_t bits;
  std::uint32_t most;
};

/// samples[r] are of rank r's list; lists hold at most `keep`. Before its cut a list has all of its candidates that are among the best
/// `keep` of the row in the total order (better scores first, then lower ranks, then earlier places).
///
/// The cut is at the first sample, in that order, up to which the lists together surely hold `keep` candidates. Up to the sample before
/// it they surely hold fewer, so up to its own place at most 1.2 keep; and no list goes on for more than a fifth behind its last sampled
/// place before the cut. So no more than 1.44 keep remain, whatever the scores are.
std::vector<Cut> find_cuts(std::vector<Samples> const& samples, std::size_t keep);

}  // namespace asymptop
