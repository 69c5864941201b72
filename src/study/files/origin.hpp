// Whether a file with cases was made by a run of the same options: the one judgement behind --resume, its refusals, the plan and merge.
#pragma once

#include <string>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "plan/plan.hpp"
#include "results/provenance.hpp"

namespace asymptop {

enum class Agreement {
  quantities,  ///< numbers are of the same quantities: cases may stand in one file
  numbers,     ///< and every number that both hold is the same: a finished case that holds more than is asked for serves
  contents     ///< and both hold the same ones, whatever the spelling of laws and thresholds
};

/// What a run's options make of a case: their texts, and what they came to at its input.
struct CaseOrigin {
  std::string config_text;
  /// Of tensors; empty where input is made. An option left out goes by the file of tensors, and did so otherwise in earlier versions.
  std::string contexts = name_of(Contexts::prefix);
  /// What results record of the path that numbers are made on; empty: not known. `auto` comes to one of those that can be named.
  std::string path = {};
};

/// Of the cases of one group of a run, and of all that a run may make: of other groups too, which are taken to be made as its own are.
CaseOrigin origin_of(RunConfig const& config, GroupPlan const& group);
CaseOrigin origin_of(RunConfig const& config, StudyPlan const& plan);
/// Of one case of a file, which may have been merged from those of several runs.
CaseOrigin origin_of(hid_t file, hid_t of_case);

/// The first option that keeps two runs from agreeing: `seed = 1 there, seed = 2 here`. Empty where they agree.
std::string other_option(CaseOrigin const& there, CaseOrigin const& here, Agreement wanted);

/// A file whose seal is whole, with the group of its case, held against a run.
struct CaseFile {
  h5::Handle file, group;
  std::string other;    ///< the first option that keeps it from being that run's, as other_option says it; empty: none does
  std::string invalid;  ///< why it is not VALID; empty: it is

  /// Throws RunError, with the reason, unless it is of the run's options.
  void check_options() const;
  /// Throws RunError, with the file's reason, unless the case is VALID.
  void check_verdict() const;
};

/// Throws RunError, with the reason, where the file is damaged, of another schema or kind, or of another case.
CaseFile open_case(std::string const& path, std::string const& id, std::string const& kind, CaseOrigin const& run, Agreement wanted);

/// Throws RunError, with the reason, unless a file of this schema and kind, which says itself what `of_case` would, was made with the
/// options of the run.
void check_same_run(hid_t file, std::string const& kind, CaseOrigin const& run, Agreement wanted);

/// Throws RunError unless this build made the file, on this kind of CPU.
void check_same_build(hid_t file, Provenance const& provenance);

}  // namespace asymptop
