// What --resume takes over from an earlier run: finished cases, and the draws so far of those that were in work.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "results/provenance.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

struct Resumed {
  std::vector<std::int64_t> finished;  ///< per case, 1 where it is complete and VALID
  std::int64_t draws = 0;              ///< that all the others have
  std::int64_t fewest_draws = 0;       ///< that they are to have: a finished case that is measured again had so many
  std::vector<double> sgemm_gflops;    ///< per case that is finished: of the run that finished it
  std::vector<std::string> said;       ///< files that are there but were not taken: one line each, with the reason
};

/// The cases of one group, whose plans are set: fills their data, checks and timings. A finished case is taken when its seal, its schema,
/// its verdict and the sizes of all its datasets are in order and it was made with the same options (those that the table of options has as
/// part of a result). One that holds more k, epsilons or thresholds than are asked for serves: the wanted ones are taken. One that lacks
/// some is measured again, with what it has besides (kept_contents.hpp). A checkpoint in addition must come from the same build, on the
/// same kind of CPU: what is continued must not be of two kinds. That of a finished case goes away.
Resumed resume_cases(std::string const& output, Provenance const& provenance, std::vector<StudyCase>& cases);

/// Finished cases that a run with --resume finds and was not asked for.
struct OtherCases {
  std::vector<std::string> kept;      ///< paths of those made with the same options: they belong to the results
  std::vector<std::string> left_out;  ///< of the others a line each, with the reason
};
OtherCases other_cases(RunConfig const& config, StudyPlan const& plan, std::vector<std::string> const& planned);

/// A group without the cases that are finished: what is left to measure, with all else as it is planned for the whole.
GroupPlan group_left(GroupPlan group, std::vector<std::int64_t> const& finished);

/// Which numbers a file of a case holds, as the options have them.
struct Contents {
  std::vector<std::string> k, epsilon, count_above;
  std::int64_t draws = 0;
};

Contents contents_of(hid_t group);

/// The contents of a file that this run will put another in place of, although the same options made it: a finished case that lacks
/// something that is asked for or is not VALID; any checkpoint. Nothing for all others, and for what cannot be read.
std::optional<Contents> replaced_contents(std::string const& path, StudyCase const& study_case, bool checkpoint);

/// What a run with --resume finds at the path: `absent`; `valid`, which it keeps; `invalid`, complete; `unusable`, damaged or of other
/// options. The data of a valid one are loaded.
std::string case_state(std::string const& path, StudyCase& study_case);

}  // namespace asymptop
