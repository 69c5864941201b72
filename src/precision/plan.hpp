// The axes of a study of arithmetic become explicit cases.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan.hpp"
#include "precision/captured_rows.hpp"
#include "precision/config.hpp"

namespace asymptop {

/// Rows of one length under one sigma law, or of one head of a tensor file, for all sets of formats.
struct PrecisionCase {
  std::string id;  ///< names the case's group in the results file
  std::int64_t n = 0;
  std::string sigma_law;  ///< `measured` of a head
  double sigma = 1.0;
  std::optional<CapturedHead> captured;  ///< none: rows are drawn
  std::int64_t rows = 0, draws = 0;
  std::vector<std::string> k_law;
  std::vector<std::int64_t> k_of_law;  ///< one per law
  std::vector<std::int64_t> k;         ///< distinct ones, ascending
  bool k_clipped = false;
  std::vector<double> threshold;  ///< --count-above at n
  double bytes_per_rank = 0.0;    ///< estimated peak
  double seconds = 0.0;           ///< rough estimate of all rows
  std::string misfit;             ///< why there is not the memory for it; empty: there is
};

struct PrecisionPlan {
  std::vector<PrecisionCase> cases;
  std::vector<Skip> skips;
  std::vector<std::string> lowered;  ///< what there is less of than asked for: a line each
  std::string refusal;               ///< why a run of it is refused, of a plan for --dry-run
};

/// What a case's rows are of, in a few words: its law of sigma, or `layer 5, head 3`.
std::string source_of(PrecisionCase const& item);

/// Throws UsageError for a law that fails at some n, for a case that does not fit into memory, and for a layer whose logits are not those
/// of its softmax alone (learned sinks, slopes).
PrecisionPlan plan_precision(PrecisionConfig const& config, InputShape const& input, Machine const& machine);

/// Rows between two gathers: enough to share out, few enough to show progress by and, where they are long, to hear soon of a request to
/// stop; but one for each of the threads of all ranks.
std::int64_t rows_between_gathers(PrecisionCase const& item, std::int64_t workers);

/// The cases for programs.
nlohmann::ordered_json plan_records(PrecisionPlan const& plan);

/// The plan as a person reads it.
std::string describe(PrecisionPlan const& plan, PrecisionConfig const& config, Machine const& machine);

}  // namespace asymptop
