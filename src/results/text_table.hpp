// Tables for people: columns by name and width.
#pragma once

#include <string>
#include <vector>

namespace asymptop {

/// A number as `format` prints it; a dash for what was not measured (NaN, infinity).
std::string digits(double value, char const* format = "%.4g");

struct TableColumn {
  std::string name;
  int width;         ///< of right-aligned text; negative: left-aligned
  bool cut = false;  ///< text that is longer is cut off, so that columns stay in line
  int gap = 1;       ///< spaces before it, but for the first
};

class TextTable {
 public:
  explicit TextTable(std::vector<TableColumn> columns) : columns_(std::move(columns)) {}
  std::string heading() const;
  /// cells: one per column.
  std::string row(std::vector<std::string> const& cells) const;

 private:
  std::vector<TableColumn> columns_;
};

}  // namespace asymptop
