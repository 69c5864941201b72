// Case files and the merged results file. Schema: src/results/README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/provenance.hpp"
#include "results/study_case.hpp"

namespace asymptop {

/// `FILE.cases/<id>.h5`.
std::string case_path(std::string const& output, std::string const& id);

/// Writes one case under a name of its own, closes, syncs and renames it. Throws RunError.
void write_case(std::string const& output, Provenance const& provenance, StudyCase const& study_case);

/// When the file holds this case (whose plan is set), complete and VALID, from a run with the same options: fills its data, checks and
/// timings and returns the sgemm rate of that run. Other n, d or heads in the lists, and how keys are held, make no difference.
std::optional<double> load_finished(std::string const& path, StudyCase& study_case);

/// Copies the cases of `paths` into one file, again by way of a temporary one. Root attributes come from the first.
void merge_cases(std::string const& output, std::vector<std::string> const& paths);

/// Throws UsageError when results may not be written to `output`.
void check_output(std::string const& output, bool force, bool resume);

/// Makes the folder of case files; with force, after removing what is there. Throws UsageError.
void start_output(std::string const& output, bool force);

}  // namespace asymptop
