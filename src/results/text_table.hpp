// Tables for people: columns by name and width. On a terminal they are as wide as it is, elsewhere whole.
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
  int longest = 0;   ///< of text that is cut off, where it may be longer than the width
};

/// Columns of the terminal that standard output is, COLUMNS of the environment where it says so; 0 where it is none. Open MPI gives its
/// first rank a terminal as wide as mpirun's own, and one without a width where mpirun has none.
int terminal_columns();

class TextTable {
 public:
  /// `less` names columns that can be done without where there is no room, the first to go first. What `room` columns hold stays; 0: all.
  explicit TextTable(std::vector<TableColumn> columns, std::vector<std::string> const& less = {}, int room = terminal_columns());
  /// The names; above them, those that had no room.
  std::string heading() const;
  /// cells: one per column, also of those that had no room. No blanks at its end.
  std::string row(std::vector<std::string> const& cells) const;

 private:
  int width() const;

  struct Shown {
    TableColumn column;
    std::size_t cell;
  };
  std::vector<Shown> shown_;
  std::string note_;
};

}  // namespace asymptop
