// Ranks in teams that work apart: neighbouring ranks, as many in each but for one.
#pragma once

#include <cstdint>

#include "kernels/core/counts.hpp"

namespace asymptop {

/// The first rank of a team; with `team` = `teams` one past the last rank.
inline int first_rank_of_team(int team, int teams, int ranks) { return checked_int(std::int64_t{ranks} * team / teams); }

/// The team of a rank.
inline int team_of_rank(int rank, int teams, int ranks) {
  int team = 0;
  while (first_rank_of_team(team + 1, teams, ranks) <= rank) ++team;
  return team;
}

}  // namespace asymptop
