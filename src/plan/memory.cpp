#include "plan/memory.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/select/selector.hpp"
#include "plan/input_plan.hpp"

namespace asymptop {
namespace {

/// Merges bring so much to a rank at a time (src/row/row_lists.hpp).
constexpr double merge_budget = 32.0 * 1048576.0;

/// Bins of a row's profile: the widest row of a draw sets their number for all, and never fewer than some 700, beside slopes never
/// more than 10^6 (bins_of_draw).
double bins_per_row(GroupPlan const& group, RunConfig const& config, double rows) {
  bool const spread = config.row_sigma == RowSigma::natural && config.input.empty();
  double const widest = spread ? 1.0 + 0.8 * std::sqrt(std::log(rows + 1.0) / group.d) : 1.0;
  double const bins = group.bins_per_unit * score_span(group) * widest;
  return std::max(700.0, steepest_span(group) > 0.0 ? std::min(bins, 1e6) : bins);
}

/// A batch's rows on their way to their owners, some of each owner at a time.
double bytes_of_merge(GroupPlan const& group, RunConfig const& config, Machine const& machine, double rows, double local, double capacity,
                      double bins) {
  double const ranks = machine.ranks, keep = group.keep();
  auto const merge = config.merge == MergeStrategy::automatic ? MergeStrategy::owner : config.merge;
  bool const root = merge == MergeStrategy::root;
  double const of_row =
      (merge == MergeStrategy::threshold ? 12.0 * keep + 256.0 * ranks : 8.0 * keep * ranks * (root ? ranks : 1.0)) + 48.0 * bins * ranks;
  double const owned = std::min(std::ceil(rows / ranks), std::max(1.0, std::floor(merge_budget / of_row)));
  double const together = std::min(rows, owned * ranks);
  double const lists = together * (8.0 * capacity + 2.0 * local), global = 16.0 * keep * owned, profiles = 24.0 * bins * (together + owned);
  // Lists go out as messages; what comes from other ranks is there as messages, and as lists once more.
  double const others = (ranks - 1.0) / ranks;
  double const out = 8.0 * together * local * others;
  double const in = 8.0 * (root ? together : owned * others) * local * (ranks > 1.0 ? ranks : 0.0);
  // One rank's own lists are those of all keys: a row at a time becomes what the row is evaluated from.
  double const both = ranks > 1.0 ? lists + global : std::max(lists, global);
  return std::max(lists + out + in, both) + profiles + keep * 80.0;
}

/// What selectors hold of the context.
double index_bytes(GroupPlan const& group, double shard) {
  double const ends = group.mask == Mask::causal ? static_cast<double>(group.counts.rows) : 1.0;
  double bytes = 0.0;
  for (auto const& choice : case_axes(group).selectors) {
    auto const selector = make_selector(choice, group.key_d());
    if (auto const* lookup = selector->lookup()) bytes += lookup->index_bytes(group.keys(), shard, ends);
  }
  return bytes;
}

/// What selectors take beside the oracle, whatever n is but for the keys that are held: of each row its head, its bins and each selector's
/// keys, and messages that ask for their scores (src/study/selection.cpp); scores and heads of a step, and of a file its keys once more,
/// which may have an offset that true scores leave out; bins of the orders, here
/// and on their way; and the windows in which each k_epsilon lies (src/draw/orders/order_walk.hpp).
double selector_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine, double rows, double step, double bins) {
  auto const cases = case_axes(group);
  double const selectors = int_size(cases.selectors), laws = cases.laws();
  if (selectors == 0.0) return 0.0;
  // Windows hold some 6000 entries of 16 bytes (measured, n = 2^20, epsilon 0.1 and 0.01), as the root of n, and have room for more.
  constexpr double of_bins = 2.0 * 4096.0 * 16.0, of_key = 24.0, of_message = 64.0, asked = 0x1p23, of_candidate = 8.0, slack = 2048.0;
  double const of_window = 1.4e5 * std::sqrt(group.keys() / 0x1p20),
               of_order = std::max(of_bins, of_window * int_size(config.epsilon) / machine.ranks);
  double const owned = std::ceil(rows / machine.ranks), keep = group.keep();
  // Samples, which may be all keys of a row (measured: 170 bytes a key, n = 2^20), and their messages.
  bool const samples =
      std::any_of(cases.selectors.begin(), cases.selectors.end(), [](auto const& one) { return one.sets() == KeptSets::weighted; });
  // Of keys that are pruned, what each law keeps at each k of a log grid.
  bool const prunes =
      std::any_of(cases.selectors.begin(), cases.selectors.end(), [](auto const& one) { return one.sets() == KeptSets::unordered; });
  double const n = group.keys(), pruned = prunes ? 160.0 : 0.0, sampled = samples ? std::min(owned * n, std::max(n, 0x1p21)) : 0.0;
  double const heads = selectors * of_candidate * (1.5 * keep + slack + step);
  double const keys = owned * keep * selectors, messages = std::min(keys, std::max(asked, keep * selectors));
  double const as_they_are = config.input.empty() || group.form.softcap > 0.0 ? 0.0 : 4.0 * step * group.d;
  return as_they_are + 170.0 * sampled + of_key * keys + of_message * messages + owned * ((of_key + pruned) * keep + 24.0 * bins) +
         rows * (4.0 * step * (1.0 + selectors) + heads + of_order * selectors * laws);
}

}  // namespace

double results_bytes(GroupPlan const& group, RunConfig const& config) {
  double const rows = group.counts.all_rows(), laws = int_size(group.cases);
  double const of_k = (config.output_error ? 5.0 : 3.0) + (group.by_thresholds() ? 2.0 : 0.0);
  double const numbers = of_k * int_size(group.k) + (int_size(config.epsilon) + int_size(group.threshold));
  return laws * rows * (numbers + 11.0) * 8.0;
}

int batches_in_flight(GroupPlan const& group, double rows_per_batch, Machine const& machine) {
  return machine.ranks > 1 && group.counts.rows > rows_per_batch ? 2 : 1;
}

double study_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine, bool resident, double rows) {
  double const n = group.keys(), d = group.d, ranks = machine.ranks, threads = machine.threads;
  double const block = config.block, tile = std::min(512.0, block) * machine.tiles_per_step;
  double const shard = std::min(n, std::ceil(std::ceil(n / block) / ranks) * block), keep = group.keep();
  auto const pass = group.path->memory({rows, keep, shard, threads, tile});
  double const tensors = (config.output_error ? 2.0 : 1.0) * (resident ? shard + pass.beyond : pass.step) * d * 4.0;
  // Of all batches that are in flight at once.
  double const all_rows = rows * batches_in_flight(group, rows, machine);
  double const candidates = all_rows * 8.0 * (pass.parts * pass.capacity + pass.copied);
  double const bins = bins_per_row(group, config, group.counts.rows), profiles = all_rows * bins * (32.0 * pass.parts + 2.0);
  double const scores = all_rows * pass.row_scores * 4.0;
  double const laws = case_axes(group).laws(), segments = int_size(group.k) + 1.0;
  double const sums = config.output_error ? all_rows * (laws + 4.0) * segments * (d + 1.0) * 8.0 : 0.0;
  double const merge = bytes_of_merge(group, config, machine, rows, std::min(keep, shard), pass.listed, bins);
  // Candidates go before sums of attention come. Results grow draw by draw, and leave gaps behind.
  double const selection = selector_bytes(group, config, machine, rows, std::max<double>(group.path->step_keys, tile), bins);
  double const passes = std::max({candidates + merge, sums, selection});
  double const messages = ranks > 1 ? 3e6 : 0.0;  // what MPI holds to reach the others
  return program_bytes + messages + 1.4 * results_bytes(group, config) + tensors + profiles + scores + passes + index_bytes(group, shard);
}

double kept_bytes(GroupPlan const& group, RunConfig const& config) {
  double const rows = group.rows_per_batch, laws = case_axes(group).laws(), keep = group.keep();
  double const sums = config.output_error ? laws * (int_size(group.k) + 1) * (group.d + 1) : 0.0;
  // Held, on their way, and as the lists that are written: measured, 58 bytes a candidate (n = 2^20, k = n/8, 32 rows).
  return rows * (56.0 * keep + 48.0 * bins_per_row(group, config, group.counts.rows) + 32.0 * sums);
}

double simulation_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine) {
  // Rows between two gathers are there as metrics, in messages, and joined.
  double const rows = group.counts.all_rows(), gathered = std::min(rows, std::max<double>(2048.0, group.counts.rows));
  double const results = results_bytes(group, config);
  constexpr double of_a_row = 3e5;  // order statistics of a row, per thread
  return program_bytes + results * (1.6 + 5.0 * gathered / rows) + of_a_row * machine.threads;
}

}  // namespace asymptop
