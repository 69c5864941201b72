#include "plan/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "config/selector_list.hpp"
#include "kernels/select/selector.hpp"
#include "plan/input_plan.hpp"

namespace asymptop {
namespace {

/// Rates for the estimate of time, per core: measured once on a 2023 server core, good to a factor of two.
constexpr double normals_per_second = 1.5e9, flops_per_second = 1e11, scores_per_second = 1.2e9, read_per_second = 2.5e8;

/// Seconds of a core for what a row costs beside its products, measured there too: for each bin of its profile and sigma law; for each
/// candidate it holds, sorting, and the errors of each law; and to fetch a winner's values for the output error, once and per law.
constexpr double seconds_per_bin = 1e-8, seconds_to_sort = 2.4e-8, seconds_per_error = 1.9e-8, seconds_to_fetch = 4e-8,
                 seconds_per_value = 6e-10, seconds_per_law = 2e-5;
/// A profile spans about so many standard deviations of the widest law.
constexpr double profile_width = 20.0;

/// Seconds that a rank of several spends on the messages of a batch: the global selection, and its part of every row's profile and sums
/// of attention, which goes to the row's owner however many ranks there are.
double message_seconds(GroupPlan const& group, RunConfig const& config, Network const& network, int ranks) {
  if (ranks == 1) return 0.0;
  auto const shape = merge_shape(group, ranks);
  double const laws = case_axes(group).laws(), segments = int_size(group.k) + 1.0;
  double const sums = config.output_error ? laws * segments * (group.d + 1) : 0.0;
  double const bytes = shape.rows * 8.0 * (3.0 * 20.0 * group.bins_per_unit + sums) * (ranks - 1) / ranks;
  constexpr double calls = 30.0;  // collective ones
  return estimate_merge(choose_merge(config.merge, shape, network), shape, network).seconds + calls * std::log2(ranks) * network.latency +
         (network.bandwidth > 0.0 ? bytes / network.bandwidth : 0.0);
}

/// Seconds of a core, at the row's owner, that follow the passes over the keys: bins and held candidates become errors, for every law.
double row_seconds(GroupPlan const& group, RunConfig const& config) {
  double const laws = case_axes(group).laws(), held = exact_double(group.kept_best()), d = group.d;
  double const output = config.output_error ? seconds_to_fetch + laws * d * seconds_per_value : 0.0;
  return laws * (seconds_per_law + profile_width * group.bins_per_unit * seconds_per_bin) +
         held * (seconds_to_sort + laws * seconds_per_error + output);
}

}  // namespace

MergeShape merge_shape(GroupPlan const& group, int ranks) { return {ranks, 1.0 * group.rows_per_batch, group.keep(), group.keys()}; }

double estimate_seconds(GroupPlan const& group, RunConfig const& config, Machine const& machine, int ranks) {
  double const n = group.keys(), d = group.d, m = group.counts.rows;
  double const draws = group.counts.draws, laws = case_axes(group).laws();
  double const block = config.block, keys = std::min(n, std::ceil(std::ceil(n / block) / ranks) * block);
  double const batches = std::ceil(m / group.rows_per_batch), passes = 2.0;
  double const products = draws * m * keys * (passes + (config.output_error ? laws : 0.0));
  double const tensors = keys * d * (cost_of_input(group.input) + (config.output_error ? 1.0 : 0.0));
  double const input = config.input.empty() ? draws * tensors * (group.resident ? 1.0 : passes * batches) / normals_per_second
                                            : tensors * (group.resident ? 1.0 : draws * passes * batches) / read_per_second;
  double orders = 0.0;
  for (auto const& choice : case_axes(group).selectors) {
    auto const of_key = make_selector(choice, group.key_d())->seconds(group.key_d());
    orders += draws * keys * (m * laws * of_key.per_row + batches * of_key.per_key);
  }
  if (group.path->device_memory != nullptr) {
    // Products and scores on the GPU (one H200), where normal keys are made too; orders, rows and the fp64 audit of two rows on the cores,
    // which make the keys of the audit again where they are not held.
    constexpr double device_flops = 2e13, device_scores = 1e11, audit_seconds = 3e-9, copied_per_second = 2e10;
    double const moved = config.input.empty() ? 0.0 : 4.0 * keys * d * passes / copied_per_second;
    double const on_cores = draws * (keys * d * audit_seconds + m * row_seconds(group, config) / ranks) + orders;
    return draws * (batches * (0.01 + moved) + batches * message_seconds(group, config, machine.network, ranks)) +
           products * (2.0 * d / device_flops + 1.0 / device_scores) + on_cores / machine.threads;
  }
  constexpr double seconds_per_batch = 0.002;  // allocations: what small n cost
  // Of batches that are in flight together only the last one's messages hide behind nothing. Ranks of one host move them themselves.
  double const exposed = group.batches_in_flight > 1 && machine.ranks > machine.ranks_on_node ? 1.0 : batches;
  return draws * (batches * seconds_per_batch + exposed * message_seconds(group, config, machine.network, ranks)) +
         (input + products * (2.0 * d / flops_per_second + 1.0 / scores_per_second) + draws * m * row_seconds(group, config) / ranks +
          orders) /
             machine.threads;
}

double estimate_flops(GroupPlan const& group, RunConfig const& config) {
  double const passes = 2.0 + (config.output_error ? case_axes(group).laws() : 0.0);
  return group.counts.all_rows() * (group.keys() * group.d) * 2.0 * passes;
}

}  // namespace asymptop
