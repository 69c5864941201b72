// Axes become cases: what will be measured, what is skipped and why, and what it costs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/path/path.hpp"
#include "plan/contexts.hpp"
#include "plan/input_shape.hpp"
#include "plan/merge_model.hpp"

namespace asymptop {

/// What the plan needs to know of the machine and the input.
struct Machine {
  int ranks = 1;
  int ranks_on_node = 1;
  int threads = 1;
  int tiles_per_step = 1;                       ///< BLAS tiles that a rank works on at once
  std::vector<Path const*> paths{&tiles_path};  ///< that can be taken, best first
  Network network;                              ///< among the ranks
  double memory_bytes = 0.0;                    ///< available on this node, for all its ranks; 0 when unknown
  std::string memory_limit;                     ///< what says so
  double device_bytes = 0.0;                    ///< free on the GPU of a rank; 0 when unknown
  std::string device_name;                      ///< of that GPU
  int ranks_on_gpu = 1;                         ///< that have the same one, at most
  bool assumed = false;                         ///< not the one that the plan is made on: a group that does not fit is part of the plan
};

/// How many times wider than planned a row's bins may be.
inline constexpr int coarsest_bins = 4;

/// One case: one group of the results file.
struct CasePlan {
  std::string id;
  std::string sigma_law;  ///< `measured` for tensors
  double sigma = 0.0;     ///< value of the law at n; factor from scores to logits. 1 for tensors, whose scores are logits
  double R = 0.0;
  SelectorChoice selector{};
  std::int64_t index_d = 0, index_heads = 0;  ///< of a trained indexer's queries; 0: the selector has none
};

/// Cases that share keys and scores: everything but the sigma law and what is kept.
struct GroupPlan {
  InputKind input;  ///< of synthetic keys and queries
  std::int64_t n = 0, layer = -1, head = -1;
  int d = 0;
  int zero_columns = 0;  ///< of the d columns of queries and keys, those that wider values ask for
  int d_v = 0;           ///< of a tensor file: columns of its values
  double scale = 0.0;
  Mask mask = Mask::none;
  AttentionForm form;              ///< of the layer
  std::int64_t window = 0;         ///< keys that a row sees, up to its own; 0: all that the mask leaves
  std::int64_t drop_first = 0;     ///< first keys of the context that no row sees
  ContextPlan contexts;            ///< of tensors
  DrawCounts counts;               ///< rows and draws
  std::vector<std::string> texts;  ///< names of the texts, where the file has them
  std::vector<CasePlan> cases;
  std::vector<std::int64_t> k_of_law;  ///< per k law
  bool k_clipped = false;
  std::vector<std::int64_t> k;       ///< every law's k and a log grid, ascending, from 1
  std::int64_t held = 0;             ///< largest k that is found by rank; larger ones by counts above thresholds
  std::int64_t choose_together = 1;  ///< query heads that do, where some selector wants it
  std::int64_t most_kept = 1;        ///< keys that a selector keeps, at most: their rows hold as many of the best
  std::int64_t kept_best() const { return std::max(held, most_kept); }
  /// Candidates that a row holds, where memory and time are estimated.
  double keep() const { return exact_double(kept_best()) + 1.0; }
  std::vector<double> threshold;  ///< --count-above at n
  bool simulated = false;         ///< rows of order statistics, without keys
  bool resident = false;
  Path const* path = &tiles_path;  ///< that its numbers are made on, unless it is simulated
  /// Which kernels make its numbers, as results record it.
  char const* recorded_path() const { return simulated ? "order-statistics" : path->recorded(); }
  MergeStrategy merge = MergeStrategy::owner;
  int rows_per_batch = 0;
  int batches_in_flight = 1;
  std::size_t batches_per_break = 0;  ///< a draw may be left after so many; 0: it is not
  int parts_per_pass = 1;             ///< and between the parts of a pass
  double bins_per_unit = 0.0;
  /// n, where memory and time are estimated.
  double keys() const { return static_cast<double>(n); }
  /// Head dimension of queries and keys.
  int key_d() const { return d - zero_columns; }
  bool by_thresholds() const { return held < k.back(); }
  /// What ALiBi adds to a logit of the head for each place that a key lies behind its query.
  double slope() const { return form.alibi.empty() || head < 0 ? 0.0 : form.alibi[head]; }
  /// The same of all heads that choose together with it.
  double slope_together() const {
    double sum = 0.0;
    auto const first = head / choose_together * choose_together;
    for (auto other = first; !form.alibi.empty() && head >= 0 && other < first + choose_together; ++other) sum += form.alibi[other];
    return sum;
  }
  /// Whether places of queries count.
  bool has_slopes() const { return slope() != 0.0 || slope_together() != 0.0; }
  /// Keys that a row sees, at most.
  std::int64_t reach() const { return window > 0 ? std::min(window, n) : n; }
  /// The logit that the head has learned for the denominator of every row; -infinity: none.
  double sink() const { return form.sinks.empty() || head < 0 ? -INFINITY : form.sinks[head]; }
  double bytes_per_rank = 0.0;  ///< estimated peak
  double device_bytes = 0.0;    ///< of the memory of a rank's GPU, at most; 0 where the path has none
  std::string misfit;           ///< why there is not the memory for it; empty: there is
  double flops = 0.0;           ///< of all draws, scores and outputs
  double seconds = 0.0;         ///< rough estimate
  std::size_t team = 0;         ///< whose ranks measure it
};

/// Ranks that measure their cases apart from the others: heads are shared out among teams, keys among the ranks of a team.
struct Team {
  int first_rank = 0;
  int ranks = 1;
  double seconds = 0.0;  ///< rough estimate of all its cases
};

/// The laws of sigma and the selectors that the cases of a group are made of, each once.
struct CaseAxes {
  std::vector<double> sigma;
  std::vector<SelectorChoice> selectors;  ///< but the oracle
  std::vector<std::size_t> law_of_case;
  std::vector<std::size_t> selector_of_case;  ///< 1 + its place; 0: the oracle
  int laws() const { return int_size(sigma); }
};
CaseAxes case_axes(GroupPlan const& group);

struct Skip {
  std::string what;
  std::string reason;
};

struct StudyPlan {
  std::vector<GroupPlan> groups;
  Contexts contexts = Contexts::prefix;  ///< of all of them
  std::vector<Skip> skips;
  std::vector<std::string> lowered;  ///< where there are fewer rows or draws than asked for, a line each
  std::vector<Team> teams;
  std::string refusal;  ///< why a run of it is refused, of a plan for --dry-run

  std::size_t team_of(int rank) const;
  /// Until the last team is done.
  double seconds() const;
};

/// The axes of one group, its laws evaluated at n; nothing of how it is measured. Throws UsageError for a law that fails at n.
GroupPlan plan_axes(RunConfig const& config, InputShape const& input, LayerShape const& layer, std::int64_t n, std::int64_t d,
                    std::int64_t head, InputKind const& kind = {}, std::int64_t drop_first = 0);

/// What a command says that has skipped all it was asked for.
std::string nothing_to_measure(std::vector<Skip> const& skips);

/// The end of planning. Throws UsageError where the run is refused, unless its plan is all that is asked for.
void refuse_run(std::string const& refusal, MeasureOptions const& options);

/// Throws UsageError for a law that fails at some n; for a group that does not fit into this machine's memory, see refuse_run. --groups
/// auto: as many teams as take the least time by the estimates, of those that leave what is held as it is.
StudyPlan plan_study(RunConfig const& config, InputShape const& input, Machine const& machine);

/// Lines that say what is measured with less than was asked for; empty where all is.
std::string lowered_lines(std::vector<std::string> const& lowered);

/// What a plan leaves out, a line each.
std::string skipped_lines(std::vector<Skip> const& skips);

/// How a tensor file was read, a line; empty for synthetic input.
std::string input_line(InputShape const& input);

/// `512 MB`, `3.20 GB`.
std::string bytes_text(double bytes);

/// `k = 64, 1024; sigma = 1, 2`.
std::string laws_text(GroupPlan const& group);

/// The plan as a person reads it.
std::string describe(StudyPlan const& plan, RunConfig const& config, Machine const& machine);

}  // namespace asymptop
