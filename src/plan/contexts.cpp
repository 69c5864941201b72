#include "plan/contexts.hpp"

#include <algorithm>

#include "kernels/core/counts.hpp"
#include "kernels/core/types.hpp"

namespace asymptop {
namespace {

constexpr std::int64_t most_of_any = 1 << 20;
constexpr std::int64_t enough_texts = 4;

/// The i-th of 0 .. count - 1 in the order of their reversed bits: 0, about count / 2, count / 4, ...; i < count.
std::int64_t spread(std::int64_t i, std::uint64_t count) {
  int bits = 0;
  for (auto rest = count - 1; rest != 0; rest >>= 1) ++bits;
  for (std::uint64_t candidate = 0;; ++candidate) {
    std::uint64_t reversed = 0;
    for (int bit = 0; bit < bits; ++bit) reversed |= (candidate >> bit & 1) << (bits - 1 - bit);
    if (reversed < count && i-- == 0) return reversed;
  }
}

}  // namespace

Contexts contexts_of(RunConfig const& config, InputShape const& input) {
  if (config.contexts) return *config.contexts;
  if (!input.has_layers()) return Contexts::prefix;
  bool const whole = std::all_of(input.layers.begin(), input.layers.end(), [](LayerShape const& layer) { return layer.m == layer.n; });
  return std::ssize(input.texts) >= enough_texts && whole ? Contexts::starts : Contexts::places;
}

ContextPlan plan_contexts(RunConfig const& config, InputShape const& input, LayerShape const& tensors, std::int64_t n) {
  ContextPlan plan;
  plan.n = n;
  plan.texts = std::max<std::int64_t>(1, std::ssize(input.texts));
  plan.kind = contexts_of(config, input);
  auto const first_query = tensors.n - tensors.m, last_eighth = std::max<std::int64_t>(1, n / 8);
  if (plan.kind == Contexts::places) {
    plan.tail = std::min(last_eighth, tensors.m);
    plan.first_end = std::max(n, first_query + plan.tail);
    plan.last_end = tensors.n;
    plan.ends = std::max<std::int64_t>(0, plan.last_end - plan.first_end) / plan.tail + 1;
  } else {
    auto const wanted = plan.kind == Contexts::starts ? last_eighth : n - n / 2;
    plan.tail = std::max<std::int64_t>(0, std::min(wanted, n - first_query));
    plan.first_end = plan.last_end = n;
  }
  return plan;
}

DrawCounts count_draws(RunConfig const& config, ContextPlan const& contexts) {
  DrawCounts counts;
  auto const tail = contexts.tail;
  if (contexts.kind != Contexts::prefix) {
    counts.rows = count_within(tail, checked_int(config.rows));
    counts.most_draws = counts.rows > 0 ? contexts.texts * contexts.ends : 0;
  } else {
    auto const of_text = (config.draws + contexts.texts - 1) / contexts.texts;
    counts.rows = count_within(std::min(tail, std::max<std::int64_t>(1, tail / of_text)), checked_int(config.rows));
    counts.most_draws = counts.rows > 0 ? contexts.texts * (tail / counts.rows) : 0;
  }
  counts.most_draws = std::min(counts.most_draws, most_of_any);
  counts.draws = count_within(counts.most_draws, checked_int(config.draws));
  return counts;
}

std::string lowered_line(RunConfig const& config, ContextPlan const& contexts, DrawCounts const& counts) {
  if (counts.rows == config.rows && counts.draws == config.draws) return "";
  auto const of = [](std::int64_t draws, std::int64_t rows) {
    return std::to_string(draws) + " draws x " + std::to_string(rows) + " rows";
  };
  auto line = "n = " + std::to_string(contexts.n) + ": " + of(counts.draws, counts.rows) + " instead of " + of(config.draws, config.rows) +
              ": " + std::to_string(contexts.texts) + " text(s) with ";
  if (contexts.kind == Contexts::starts)
    return line + "one context of that length at its start each, " + std::to_string(contexts.tail) + " places for rows in it";
  if (contexts.kind == Contexts::places)
    return line + std::to_string(contexts.ends) + " context(s) of that length whose rows are apart, " + std::to_string(contexts.tail) +
           " places for rows in each";
  return line + std::to_string(contexts.tail) + " places for rows in the second half of the prefix";
}

Context context_of(ContextPlan const& contexts, std::int64_t draw) {
  Context context;
  context.text = draw % contexts.texts;
  context.turn = draw / contexts.texts;
  if (contexts.kind != Contexts::places) return context;
  auto const span = contexts.last_end - contexts.first_end;
  auto const place = spread((context.turn + context.text) % contexts.ends, contexts.ends);
  context.begin = contexts.last_end - (contexts.ends > 1 ? place * span / (contexts.ends - 1) : 0) - contexts.n;
  return context;
}

}  // namespace asymptop
