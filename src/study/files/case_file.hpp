// Case files and the merged results file. Schema: src/results/README.md.
#pragma once

#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "results/provenance.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

/// `FILE.cases/<id>.h5`.
std::string case_path(std::string const& output, std::string const& id);

/// The draws so far of a case that is not finished: `FILE.cases/<id>.checkpoint`.
std::string checkpoint_path(std::string const& output, std::string const& id);

/// The datasets of the fields that a case has, of rows of several draws.
void write_fields(hid_t group, FieldValues const& data, FieldAxes const& axes, h5::Dimension const& draw, h5::Dimension const& row);

/// Writes one case under a name of its own, closes, seals, syncs and renames it; its checkpoint goes away. Throws RunError.
void write_case(std::string const& output, Provenance const& provenance, StudyCase const& study_case);

/// The same of a case that has not all its draws yet: the schema of a case file, with a `kind` of its own.
void write_checkpoint(std::string const& output, Provenance const& provenance, StudyCase const& study_case);
inline constexpr char const* checkpoint_kind = "checkpoint";

/// Copies the cases of `paths` into one file, none of other quantities than the first (throws UsageError, which names the option), again by
/// way of a temporary one. Root attributes come from the first; a case of another file has those that differ as attributes of its own,
/// `run_NAME`.
void merge_cases(std::string const& output, std::vector<std::string> const& paths);

/// The same for a run's own case files and those that it found finished: root attributes are those of the run, but for the rate of sgemm,
/// which is the first case's.
void join_cases(std::string const& output, Provenance provenance, std::vector<std::string> const& paths);

/// Reads a file as merge_cases does, into memory; for a first look at one in a child process (h5/trial.hpp).
void try_merge(std::string const& path);

/// Throws UsageError when results may not be written to `output`.
void check_output(std::string const& output, bool force, bool resume);
/// The same for what replaces nothing.
void check_new_output(std::string const& output);

/// Makes the folder of case files; with force, after removing what is there. Throws UsageError when it cannot be written to. Returns the
/// files that were discarded: parts that an earlier run did not write to their end.
std::vector<std::string> start_output(std::string const& output, bool force);

}  // namespace asymptop
