// What is known of a draw in work: `FILE.cases/<id>.draw`, of the group whose first case has that id. Schema: src/results/README.md.
#pragma once

#include <string>
#include <vector>

#include "results/provenance.hpp"
#include "row/partial_draw.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

/// Path of the file of a group, one of whose cases is `any`.
std::string draw_path(std::string const& output, StudyCase const& any);

/// Writes it, sealed, as a whole. `seconds_total`: spent on the group so far, in all runs. Throws RunError.
void write_draw(std::string const& output, Provenance const& provenance, StudyCase const& any, PartialDraw const& partial,
                double seconds_total);

struct FoundDraw {
  PartialDraw partial;         ///< draw -1: none that can be gone on with
  double seconds_total = 0.0;  ///< of the group
  std::string refused;         ///< why one that is there is not taken: a line
};

/// The one of `draw`, when its seal is whole and the same build on the same kind of CPU made it with the same options, in batches of as
/// many rows. One of an earlier draw is outdated: it is removed.
FoundDraw find_draw(std::string const& output, Provenance const& provenance, StudyCase const& any, std::int64_t draw);

/// A draw is done, or was: its file goes away.
void remove_draw(std::string const& output, StudyCase const& any);

}  // namespace asymptop
