#include "results/figures_of_merit.hpp"

#include <algorithm>
#include <cmath>

#include "config/number_text.hpp"
#include "kernels/core/counts.hpp"
#include "results/text_table.hpp"

namespace asymptop {

std::string figures_text(std::vector<FigureOfMerit> const& figures, bool valid) {
  int name = 0, unit = 0;
  for (auto const& figure : figures) {
    name = std::max(name, int_size(figure.name));
    unit = std::max(unit, int_size(figure.unit));
  }
  TextTable const table({{"", 3}, {"", -name}, {"", 10}, {"", -unit}, {"", -6}}, {}, 0);
  std::string text = "FOM v1\n";
  for (auto const& figure : figures) {
    if (!std::isfinite(figure.value)) continue;
    text += table.row({"FOM", figure.name, count_or(figure.value, 6), figure.unit, figure.higher_is_better ? "higher" : "lower"});
  }
  return text + "FOM v1 " + (valid ? "VALID" : "INVALID") + "\n";
}

}  // namespace asymptop
