#include "results/text_table.hpp"

#include <cmath>
#include <cstdio>

namespace asymptop {

std::string digits(double value, char const* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return std::isfinite(value) ? text : "-";
}

std::string TextTable::heading() const {
  std::vector<std::string> names;
  for (auto const& column : columns_) names.push_back(column.name);
  return row(names);
}

std::string TextTable::row(std::vector<std::string> const& cells) const {
  std::string line;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    auto const& column = columns_[i];
    std::size_t const width = std::abs(column.width);
    auto const text = column.cut ? cells[i].substr(0, width) : cells[i];
    std::string const padding(text.size() < width ? width - text.size() : 0, ' ');
    if (i > 0) line.append(column.gap, ' ');
    line += column.width < 0 ? text + padding : padding + text;
  }
  return line + "\n";
}

}  // namespace asymptop
