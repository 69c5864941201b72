#include "plan/tensor_plan.hpp"

#include "config/errors.hpp"
#include "config/selector_list.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

std::string reason_to_skip_tensors(GroupPlan const& group, RunConfig const& config, LayerShape const& layer) {
  if (group.n > layer.n) return "the tensors hold " + std::to_string(layer.n) + " keys";
  if (group.counts.rows == 0)
    return "the tensors have queries for the last " + std::to_string(layer.m) + " of " + std::to_string(layer.n) +
           " keys, and none for rows of the first " + std::to_string(group.n) + "; use --contexts places";
  auto const fewest = group.mask == Mask::causal ? group.n - group.contexts.tail + 1 : group.n;
  if (group.drop_first >= fewest)
    return "without the first " + std::to_string(group.drop_first) + " keys (--drop-first) some rows see none: the earliest has " +
           std::to_string(fewest) + " keys up to its own";
  if (group.window > 0 && group.mask != Mask::causal) {
    std::string const why = "a query sees the last keys up to its own";
    if (config.window) throw UsageError("--window", std::to_string(group.window), "needs --mask causal: " + why);
    throw UsageError("--mask", name_of(group.mask),
                     "does not go with the window of " + std::to_string(group.window) + " keys that layer " + std::to_string(group.layer) +
                         " has: " + why + "; --window 0 takes it away");
  }
  for (auto const& choice : case_axes(group).selectors) {
    if (!group.form.alibi.empty() && !make_selector(choice, group.key_d())->takes_slopes())
      throw UsageError("--selectors", choice.text,
                       "is not defined under ALiBi slopes, which layer " + std::to_string(group.layer) +
                           " has: it goes by several keys at once that lie apart; --layers leaves the layer out");
  }
  return "";
}

}  // namespace asymptop
