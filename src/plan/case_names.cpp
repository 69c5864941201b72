#include "plan/case_names.hpp"

#include <algorithm>
#include <sstream>

namespace asymptop {

std::string case_id(GroupPlan const& group, std::string const& of) {
  std::ostringstream id;
  id << "n" << group.n << "-d" << group.key_d();
  if (!group.input.is(Distribution::gaussian)) {
    auto name = name_of(group.input);
    std::replace(name.begin(), name.end(), ':', '-');
    id << "-" << name;
  }
  id << "-" << of;
  return id.str();
}

std::string with_selector(std::string const& id, SelectorChoice const& selector) {
  return selector.is_oracle() ? id : id + "-" + selector.word();
}

std::string tensor_case_id(GroupPlan const& group, RunConfig const& config, SelectorChoice const& selector) {
  auto of = group.layer < 0 ? "" : "layer" + std::to_string(group.layer) + "-";
  of += "head" + std::to_string(group.head) + (group.mask == Mask::causal ? "-causal" : "");
  if (config.window) of += "-window" + std::to_string(*config.window);
  if (group.drop_first > 0) of += "-drop" + std::to_string(group.drop_first);
  return with_selector(case_id(group, of), selector);
}

}  // namespace asymptop
