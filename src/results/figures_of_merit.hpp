// What a run achieved, as the last lines of its output, for programs that watch many runs (ReFrame, Ramble, Benchpark): README.md.
#pragma once

#include <string>
#include <vector>

namespace asymptop {

struct FigureOfMerit {
  std::string name;  ///< without white space
  double value;      ///< figures that are not finite are left out
  std::string unit;  ///< without white space
  bool higher_is_better = true;
};

/// The block `FOM v1`: a line for each figure, and the verdict on the whole run.
std::string figures_text(std::vector<FigureOfMerit> const& figures, bool valid);

}  // namespace asymptop
