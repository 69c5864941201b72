// Whether a file of a study's folder was made by a run of the same options: the one judgement behind --resume, its refusals and the plan.
#pragma once

#include <string>

#include "config/errors.hpp"
#include "config/run_config.hpp"
#include "h5/h5.hpp"
#include "plan/contexts.hpp"
#include "results/provenance.hpp"

namespace asymptop {

enum class Agreement {
  numbers,  ///< every number that both hold is the same: a finished case that holds more than is asked for serves
  contents  ///< and both hold the same ones, whatever the spelling of laws and thresholds
};

/// The first option of two config texts that keeps them from agreeing: `seed = 1 there, seed = 2 here`. Empty where they agree.
std::string other_option(std::string const& there, std::string const& here, Agreement wanted);

/// A file whose seal is whole, with the group of its case.
struct CaseFile {
  h5::Handle file, group;
};

/// Throws RunError, with the reason, where the file is damaged or of another case.
CaseFile open_case(std::string const& path, std::string const& id);

struct OtherOptions : RunError {
  explicit OtherOptions(std::string const& other) : RunError("it was made with other options (" + other + ")"), option(other) {}
  std::string option;  ///< as other_option says it
};

/// Throws RunError, with the reason, unless a file is of this schema and kind; OtherOptions where it was made with options that do not
/// agree.
void check_same_run(hid_t file, RunConfig const& config, std::string const& kind, Agreement wanted);

/// Throws OtherOptions unless the rows of a case are of contexts as they are planned here. What they are where nothing is said goes by the
/// file of tensors, and did so otherwise in earlier versions.
void check_same_contexts(hid_t group, ContextPlan const& planned);

/// Throws RunError unless this build made the file, on this kind of CPU.
void check_same_build(hid_t file, Provenance const& provenance);

/// Throws RunError, with the file's reason, unless the case is VALID.
void check_verdict(hid_t group);

/// Of a finished, VALID case whose numbers are of other options: the first of them, as other_option says it. Empty of all else, and of what
/// cannot be read.
std::string made_otherwise(std::string const& path, std::string const& id, RunConfig const& config, ContextPlan const& contexts);

}  // namespace asymptop
