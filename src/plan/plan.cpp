#include "plan/plan.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "config/errors.hpp"
#include "config/options.hpp"
#include "kernels/select/order_keys.hpp"
#include "kernels/select/selector.hpp"
#include "plan/case_names.hpp"
#include "plan/estimate.hpp"
#include "plan/heads.hpp"
#include "plan/input_plan.hpp"
#include "plan/memory.hpp"
#include "plan/teams.hpp"
#include "plan/tensor_plan.hpp"

namespace asymptop {
namespace {

/// Most rows whose scores are held at once; more rows than this take several passes over the keys.
constexpr int largest_batch = 256;

/// Share of a rank's memory that resident keys may take.
constexpr double resident_share = 0.4;

/// The most candidates that a row may hold.
constexpr std::int64_t most_held = (std::int64_t{1} << 30) - 1;

/// Every law's k, and a grid of two points per octave up to the largest.
std::vector<std::int64_t> k_axis(std::vector<std::int64_t> const& of_laws) {
  auto axis = of_laws;
  auto const largest = *std::max_element(axis.begin(), axis.end());
  for (double k = 1.0; k < static_cast<double>(largest); k *= std::sqrt(2.0)) axis.push_back(std::llround(k));
  std::sort(axis.begin(), axis.end());
  axis.erase(std::unique(axis.begin(), axis.end()), axis.end());
  return axis;
}

/// The path that is asked for, or the best that does all that a study asks for.
Path const* choose_path(RunConfig const& config, Machine const& machine, GroupPlan const& group) {
  auto const& paths = machine.paths;
  auto const taken = std::find_if(paths.begin(), paths.end(),
                                  [&](Path const* path) { return config.path == nullptr ? path->whole() : path == config.path; });
  if (taken == paths.end()) throw UsageError("--path", config.path->name, config.path->unavailable);
  auto const* path = *taken;
  if (path->device_memory != nullptr && !group.form.alibi.empty())
    throw UsageError("--path", path->name,
                     "adds no ALiBi slopes, which layer " + std::to_string(group.layer) + " of the tensors has; fused and blas-tile do");
  if (path->largest_d > 0 && group.d > path->largest_d)
    throw UsageError(
        "--path", path->name,
        "takes up to " + std::to_string(path->largest_d) + " columns, not the " + std::to_string(group.d) + " of --d or the tensors");
  if (path->device_memory != nullptr && !config.share_gpu && machine.ranks_on_gpu > 1)
    throw UsageError("--gpu", "auto", "finds one GPU for " + std::to_string(machine.ranks_on_gpu) + " ranks; " + own_gpu_advice);
  return path;
}

/// Bytes of the memory of a rank's GPU that a group takes; 0 where its path has none.
double bytes_on_device(GroupPlan const& group, RunConfig const& config, Machine const& machine, bool resident, double rows) {
  if (group.path->device_memory == nullptr) return 0.0;
  double const block = config.block, n = group.keys(), shard = std::min(n, std::ceil(std::ceil(n / block) / machine.ranks) * block),
               keys = resident ? shard : std::min<double>(shard, group.path->step_keys);
  return group.path->device_memory({rows, group.keep(), keys, 1.0, 0.0}, group.d);
}

/// Rows of a batch, at most so many where the path leaves the choice.
int batch_of(GroupPlan const& group, int most) {
  int const multiple = group.path->batch_rows;
  if (most < group.counts.rows) most = std::max(multiple, most / multiple * multiple);
  return std::min(group.counts.rows, most);
}

void choose_storage(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  double const share = memory_of_rank(machine);
  auto rows = batch_of(group, config.batch_rows > 0 ? checked_int(config.batch_rows) : largest_batch);
  auto const bytes = [&](bool resident) { return study_bytes(group, config, machine, resident, rows); };
  double const of_device = machine.device_bytes > 0.0 ? machine.device_bytes / machine.ranks_on_gpu : 1e300;
  auto const on_device = [&](bool resident) { return bytes_on_device(group, config, machine, resident, rows); };
  group.resident =
      config.keys == KeyStorage::resident ||
      (config.keys == KeyStorage::automatic && (share <= 0.0 || bytes(true) <= resident_share * share) && on_device(true) <= of_device);
  auto const fits = [&] { return fits_into(bytes(group.resident), share) && on_device(group.resident) <= of_device; };
  // Without output errors large k need not be held (selectors' keys are), and a pass over the keys for every few rows would cost far more
  // than that is worth.
  bool const may_count = !config.output_error && case_axes(group).selectors.empty();
  for (auto k = group.k.rbegin(); k != group.k.rend() && !fits() && may_count && *k > 1; ++k) group.held = *k / 2;
  auto const halved = [&] { return batch_of(group, (rows + 1) / 2); };
  while (!fits() && halved() < rows) rows = halved();
  group.rows_per_batch = rows;
  group.batches_in_flight = batches_in_flight(group, rows, machine);
  group.bytes_per_rank = bytes(group.resident);
  group.device_bytes = on_device(group.resident);
  bool const fits_host = fits_into(group.bytes_per_rank, share), fits_device = group.device_bytes <= of_device;
  std::ostringstream message;
  if (fits_host && !fits_device) {
    message << "n = " << group.n << " needs " << bytes_text(group.device_bytes) << " of the GPU's memory on each rank and "
            << bytes_text(of_device) << " are free; lower --n, --batch-rows or k" << (group.resident ? ", or use --keys streamed" : "");
  } else if (!fits_host && steepest_span(group) > widest_span(group)) {
    message << "--input: '" << config.input << "' has ALiBi slopes over which logits of n = " << group.n << " span " << steepest_span(group)
            << "; fp32 logits can be profiled over a span of " << widest_span(group) << ", check them or leave the layer out (--layers)";
  } else if (!fits_host) {
    message.precision(3);
    message << "n = " << group.n << " needs " << group.bytes_per_rank / 1e9 << " GB on each rank and " << available_text(machine, share)
            << "; lower " << (results_bytes(group, config) > group.bytes_per_rank / 2.0 ? "--draws or --rows" : "--n or k, use more nodes")
            << (group.resident ? ", or use --keys streamed" : "")
            << (config.output_error ? ", or --output-error off, which need not hold large k" : "");
  }
  group.misfit = message.str();
}

/// A draw that is one batch leaves its messages exposed. Two halves hide them, each with costs of its own: the estimate decides.
void choose_batches(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  if (config.batch_rows > 0 || group.rows_per_batch < group.counts.rows || group.counts.rows < 2) return;
  auto halves = group;
  halves.rows_per_batch = batch_of(group, (group.counts.rows + 1) / 2);
  halves.batches_in_flight = batches_in_flight(halves, halves.rows_per_batch, machine);
  auto const seconds = [&](GroupPlan const& plan) { return estimate_seconds(plan, config, machine, machine.ranks); };
  if (seconds(halves) < seconds(group)) group = std::move(halves);
}

/// Where draws may be left: about every quarter of the time between checkpoints, every 15 s at most, so that a stop need not wait long.
/// Draws that take no more than a few of those are done in one go. 0 minutes: wherever it can be.
void choose_breaks(GroupPlan& group, RunConfig const& config, Machine const& machine, int ranks) {
  constexpr double longest = 15.0;
  constexpr int fewest_parts = 4, most_parts = 10000;
  double const batches = std::ceil(1.0 * group.counts.rows / group.rows_per_batch),
               batch = estimate_seconds(group, config, machine, ranks) / group.counts.draws / batches;
  double const between = std::min(longest, 60.0 * config.checkpoint_minutes / 4.0);
  if (batch * batches < 2.0 * between) return;
  group.batches_per_break = batch < between ? checked_int(between / batch) : 1;
  group.parts_per_pass =
      std::clamp(between > 0.0 ? checked_int(std::min<double>(most_parts, batch / 2.0 / between)) : fewest_parts, 1, most_parts);
  // What is kept must fit too; without it a draw is left between batches.
  if (group.parts_per_pass == 1) return;
  double const more = kept_bytes(group, config);
  if (fits_into(group.bytes_per_rank + more, memory_of_rank(machine))) {
    group.bytes_per_rank += more;
  } else {
    group.parts_per_pass = 1;
  }
}

/// Bins of the rows' profiles.
void choose_bins(GroupPlan& group, RunConfig const& config) {
  double largest_sigma = 0.0;
  for (auto const& item : group.cases) largest_sigma = std::max(largest_sigma, item.sigma);
  group.bins_per_unit = std::exp2(std::ceil(std::log2(std::max(32.0 * largest_sigma, 16.0))));
  option_table().check_at(for_study, "sigma", config.sigma_from_R ? "--R" : "--sigma", "", largest_sigma, group.n);
}

/// Why a group cannot be measured; empty when it can.
std::string reason_to_skip(GroupPlan const& group, RunConfig const& config, LayerShape const& tensors, Machine const& machine) {
  if (auto const why = tensors.n > 0 ? reason_to_skip_tensors(group, config, tensors) : std::string(); !why.empty()) return why;
  auto const of_input = reason_to_skip_input(group);
  if (!of_input.empty()) return of_input;
  if (config.self == SelfKey::include && group.counts.rows > group.n)
    return "a draw's " + std::to_string(group.counts.rows) + " rows must be among its " + std::to_string(group.n) + " keys";
  if (group.n / machine.ranks >= (std::int64_t{1} << 32) - (1 << 21)) return "a rank would own 2^32 keys or more; use more ranks";
  if (group.k.back() > most_held && config.output_error)
    return "k = " + std::to_string(group.k.back()) + " is over 2^30 - 1, the most candidates a row may hold; --output-error off needs none";
  if (!case_axes(group).selectors.empty() && group.n > most_places)
    return "n is over " + std::to_string(most_places) + ", the most keys that selectors other than score take";
  for (auto const& selector : case_axes(group).selectors) {
    auto const made = make_selector(selector, group.key_d());
    if (made->index() != nullptr && tensors.n == 0)
      throw UsageError("--selectors", selector.text, "needs --input, a tensor file with an index beside Q, K and V");
    auto const page = made->page();
    if (config.block % page != 0)
      throw UsageError(
          "--selectors", selector.text,
          "has pages that cross blocks of keys: " + std::to_string(page) + " does not divide --block " + std::to_string(config.block));
    if (std::max(group.k.back(), group.kept_best()) > most_held)
      return "k = " + std::to_string(group.k.back()) + " is over 2^30 - 1, the most keys that a selector may keep";
  }
  return "";
}

/// A group before it has a head: one for every n of every layer, d and input.
struct Shape {
  LayerShape const* layer;
  GroupPlan group;
  std::string reason{};  ///< why it is skipped
};

/// The plan for so many teams of neighbouring ranks, equal but for one rank. Heads go one by one to the team that would be done with them
/// first.
StudyPlan plan_teams(RunConfig const& config, Machine const& machine, std::vector<HeadPlace> const& heads, std::vector<Shape> shapes,
                     int teams) {
  StudyPlan plan;
  auto smallest = machine;
  smallest.ranks = machine.ranks / teams;
  for (auto& [layer, group, reason] : shapes) {
    reason = reason_to_skip(group, config, *layer, smallest);
    if (!reason.empty()) continue;
    group.path = choose_path(config, smallest, group);
    choose_storage(group, config, smallest);
    choose_batches(group, config, smallest);
    group.flops = estimate_flops(group, config);
    auto const line = layer->n > 0 ? lowered_line(config, group.contexts, group.counts) : "";
    if (!line.empty() && std::find(plan.lowered.begin(), plan.lowered.end(), line) == plan.lowered.end()) plan.lowered.push_back(line);
  }
  std::vector<std::vector<double>> seconds;  // per team and shape
  for (int t = 0; t < teams; ++t) {
    int const first = first_rank_of_team(t, teams, machine.ranks), end = first_rank_of_team(t + 1, teams, machine.ranks);
    plan.teams.push_back({first, end - first, 0.0});
    auto& of_team = seconds.emplace_back();
    for (auto const& shape : shapes)
      of_team.push_back(shape.reason.empty() ? estimate_seconds(shape.group, config, machine, end - first) : 0.0);
  }
  for (auto const& place : heads) {
    auto const done = [&](std::size_t t) {
      double of_layer = 0.0;
      for (std::size_t i = 0; i < shapes.size(); ++i) of_layer += shapes[i].layer == place.layer ? seconds[t][i] : 0.0;
      return plan.teams[t].seconds + of_layer;
    };
    std::size_t team = 0;
    for (std::size_t t = 1; t < plan.teams.size(); ++t) {
      if (done(t) < done(team)) team = t;
    }
    plan.teams[team].seconds = done(team);
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      auto const& [layer, shape, reason] = shapes[i];
      if (layer != place.layer) continue;
      if (!reason.empty()) {
        plan.skips.push_back({"n = " + std::to_string(shape.n) + ", d = " + std::to_string(shape.key_d()) + text_of(place) +
                                  (shape.input.is(Distribution::gaussian) ? "" : ", " + name_of(shape.input)),
                              reason});
        continue;
      }
      auto& group = plan.groups.emplace_back(shape);
      group.head = place.head;
      for (auto& item : group.cases) item.id = place.head < 0 ? item.id : tensor_case_id(group, config, item.selector);
      group.merge = choose_merge(config.merge, merge_shape(group, plan.teams[team].ranks), machine.network);
      group.seconds = seconds[team][i];
      choose_breaks(group, config, machine, plan.teams[team].ranks);
      group.team = team;
    }
  }
  return plan;
}

/// Why some group has not the memory of a machine that is there, or none has that of one that is assumed; empty: there is something to
/// measure.
std::string misfit_of(StudyPlan const& plan, Machine const& machine) {
  auto const misfits = [](GroupPlan const& group) { return !group.misfit.empty(); };
  auto const found = std::find_if(plan.groups.begin(), plan.groups.end(), misfits);
  if (found == plan.groups.end()) return "";
  return machine.assumed && !std::all_of(plan.groups.begin(), plan.groups.end(), misfits) ? "" : found->misfit;
}

/// Whether two plans of the same study measure the same cases and hold the same k, so that their results are the same bytes.
bool holds_the_same(StudyPlan const& a, StudyPlan const& b) {
  return std::equal(a.groups.begin(), a.groups.end(), b.groups.begin(), b.groups.end(), [](GroupPlan const& x, GroupPlan const& y) {
    return x.n == y.n && x.d == y.d && x.input == y.input && x.layer == y.layer && x.head == y.head && x.drop_first == y.drop_first &&
           x.held == y.held;
  });
}

}  // namespace

std::size_t StudyPlan::team_of(int rank) const { return team_of_rank(rank, int_size(teams), teams.back().first_rank + teams.back().ranks); }

double StudyPlan::seconds() const {
  double longest = 0.0;
  for (auto const& team : teams) longest = std::max(longest, team.seconds);
  return longest;
}

GroupPlan plan_axes(RunConfig const& config, InputShape const& input, LayerShape const& layer, std::int64_t n, std::int64_t d,
                    std::int64_t head, InputKind const& kind, std::int64_t drop_first) {
  GroupPlan group;
  group.input = kind;
  group.n = n;
  group.d = checked_int(std::max(d, layer.d_v));
  group.zero_columns = group.d - checked_int(d);
  group.d_v = checked_int(layer.d_v);
  group.head = head;
  group.layer = layer.layer;
  group.form = layer.form;
  group.scale = config.scale.value_or(layer.form.scale > 0.0 ? layer.form.scale : 1.0 / std::sqrt(d));
  group.mask = config.mask_given ? config.mask : layer.form.mask.value_or(config.mask);
  group.window = config.window.value_or(layer.form.window);
  group.drop_first = drop_first;
  bool const tensors = layer.n > 0;
  group.counts = {checked_int(config.rows), checked_int(config.draws), std::int64_t{1} << 20};
  if (tensors) {
    group.texts = input.texts;
    group.contexts = plan_contexts(config, input, layer, n);
    group.counts = count_draws(config, group.contexts);
  }
  if (tensors) {
    for (auto const& selector : config.selectors)
      group.cases.push_back({tensor_case_id(group, config, selector), "measured", 1.0, 0.0, selector});
  } else {
    for (std::size_t law = 0; law < config.sigma.size(); ++law) {
      // R = B^2 ‖W‖_F, and sigma = scale ‖W‖_F.
      double const bound = kind.coordinate_bound(d), value = config.sigma[law](n),
                   sigma = config.sigma_from_R ? value * group.scale / (bound * bound) : value;
      auto const id = case_id(group, (config.sigma_from_R ? "R" : "sigma") + config.sigma[law].word());
      for (auto const& selector : config.selectors)
        group.cases.push_back(
            {with_selector(id, selector), config.sigma[law].text(), sigma, sigma / group.scale * (bound * bound), selector});
    }
  }
  for (auto const& law : config.k) {
    auto const rank = rank_at(law, n);
    group.k_of_law.push_back(rank.k);
    group.k_clipped = group.k_clipped || rank.clipped;
  }
  group.k = k_axis(group.k_of_law);
  group.held = std::min(config.hold > 0 ? config.hold : most_held, group.k.back());
  for (auto const& choice : case_axes(group).selectors) {
    auto const selector = make_selector(choice, group.key_d());
    if (selector->shared() && layer.key_heads > 0) group.choose_together = layer.heads / layer.key_heads;
    // Any number of entries over n keeps all.
    auto const entries = std::min(selector->entries_of_budget(group.held), n);
    group.most_kept = std::max(group.most_kept, std::min(n, entries * selector->keys_of_entry()));
  }
  for (auto const& law : config.count_above) {
    double const threshold = law(n);
    group.threshold.push_back(threshold);
  }
  return group;
}

StudyPlan plan_study(RunConfig const& config, InputShape const& input, Machine const& machine) {
  auto const layers = layers_of(config, input);
  auto const heads = heads_of(config, input, layers);
  std::vector<Shape> shapes;
  std::vector<std::int64_t> dropped{0};
  if (config.drop_first > 0) dropped.push_back(config.drop_first);
  for (auto const& layer : layers) {
    for (auto const& kind : config.inputs) {
      for (auto const d : layer.n > 0 ? std::vector<std::int64_t>{layer.d} : config.d) {
        for (auto const n : config.n) {
          for (auto const drop_first : dropped) {
            shapes.push_back({&layer, plan_axes(config, input, layer, n, d, heads.front().head, kind, drop_first)});
            choose_bins(shapes.back().group, config);
          }
        }
      }
    }
  }
  auto const most = count_within(std::ssize(heads), machine.ranks);
  if (config.groups > most) {
    throw UsageError(
        "--groups", std::to_string(config.groups),
        "is more than there are " + std::string(most == machine.ranks ? "ranks" : "heads") + " (" + std::to_string(most) + ")");
  }
  auto plan = plan_teams(config, machine, heads, shapes, std::max(1, config.groups));
  for (int teams = 2; config.groups == 0 && teams <= most && misfit_of(plan, machine).empty(); ++teams) {
    auto other = plan_teams(config, machine, heads, shapes, teams);
    if (!misfit_of(other, machine).empty()) break;  // more teams need more memory
    if (other.seconds() < plan.seconds() && holds_the_same(other, plan)) plan = std::move(other);
  }
  plan.contexts = contexts_of(config, input);
  plan.refusal = plan.groups.empty() ? nothing_to_measure(plan.skips) : misfit_of(plan, machine);
  refuse_run(plan.refusal, config);
  return plan;
}

std::string nothing_to_measure(std::vector<Skip> const& skips) {
  return "nothing to measure: " + skips.front().what + ": " + skips.front().reason;
}

void refuse_run(std::string const& refusal, MeasureOptions const& options) {
  if (!refusal.empty() && !options.dry_run) throw UsageError(refusal);
}

CaseAxes case_axes(GroupPlan const& group) {
  CaseAxes axes;
  for (auto const& item : group.cases) {
    auto const law = std::find(axes.sigma.begin(), axes.sigma.end(), item.sigma);
    axes.law_of_case.push_back(law - axes.sigma.begin());
    if (law == axes.sigma.end()) axes.sigma.push_back(item.sigma);
    auto const selector = std::find(axes.selectors.begin(), axes.selectors.end(), item.selector);
    axes.selector_of_case.push_back(item.selector.is_oracle() ? 0 : 1 + selector - axes.selectors.begin());
    if (!item.selector.is_oracle() && selector == axes.selectors.end()) axes.selectors.push_back(item.selector);
  }
  return axes;
}

}  // namespace asymptop
