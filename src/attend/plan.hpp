// The axes of full attention become explicit cases; impossible ones are skipped with their reason.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "attend/config.hpp"
#include "kernels/core/math.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// Full attention at one size, under one sigma law and one mask.
struct AttendCase {
  std::string id;  ///< names the case's group in the results file
  std::int64_t n = 0;
  int d = 0;
  std::int64_t head = -1;  ///< of the tensor file; -1 for synthetic input
  double scale = 0.0;      ///< queries are multiplied by it
  std::string sigma_law;   ///< `measured` for tensors
  double sigma = 1.0;      ///< what their products with keys are multiplied by then
  Mask mask = Mask::none;
  Path const* exact_path = &fused_path;
  std::vector<std::string> k_law;      ///< empty where nothing is selected
  std::vector<std::int64_t> k_of_law;  ///< one per law
  std::vector<std::int64_t> k;         ///< distinct ones, ascending
  bool k_clipped = false;
  double bytes_per_rank = 0.0;  ///< estimated peak
  double device_bytes = 0.0;    ///< of the memory of a rank's GPU, at most; 0 where the path has none

  /// n, as a number to compute with.
  double rows() const { return exact_double(n); }
  float fp32_sigma() const { return to_fp32(sigma); }
  /// Pairs of a row and a key that it sees.
  double visible_pairs() const;
  /// Flops of exact attention: 4 d for every visible pair.
  double exact_flops() const { return 4.0 * d * visible_pairs(); }
  /// Flops of top-k attention: 2 d for every visible pair and 2 d for every key kept at the largest k.
  double top_k_flops() const;
  /// Of the kernels that are asked for.
  double flops(AttendConfig const& config) const;
};

/// Cases of one shape. Their draws, one after another, are shared out among teams of ranks (plan/teams.hpp).
struct AttendSet {
  std::vector<AttendCase> cases;
  int teams = 1;
};

struct AttendPlan {
  std::vector<AttendSet> sets;
  std::vector<Skip> skips;
  Path const* exact_path = nullptr;  ///< of exact attention
  std::string refusal;               ///< why a run of it is refused, of a plan for --dry-run

  std::size_t cases() const;
};

/// Bytes that the candidates of a batch of rows may take on a rank whose keys take `shard_bytes`.
double selection_budget(double shard_bytes);

/// Rows of a batch whose candidates are selected on a GPU, at most.
inline constexpr std::int64_t most_selecting_on_gpu = 4096;

/// Bytes that a row's candidates take while the `keep` best are selected, and its lists afterwards.
double selection_bytes_per_row(std::int64_t keep);

/// --groups auto: of the numbers of teams that fit into memory the one with the fewest rows, over all its turns, on the rank that has
/// most; of equal ones the largest, whose rings are the shortest. Throws UsageError for a law that fails at some n, for more groups than
/// there are ranks or draws, and when no case is left.
AttendPlan plan_attend(AttendConfig const& config, InputShape const& input, Machine const& machine);

/// The cases for programs.
nlohmann::ordered_json plan_records(AttendPlan const& plan, AttendConfig const& config);

/// The plan as a person reads it.
std::string describe(AttendPlan const& plan, AttendConfig const& config, Machine const& machine);

}  // namespace asymptop
