#include "results/text_table.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace asymptop {

std::string digits(double value, char const* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return std::isfinite(value) ? text : "-";
}

int terminal_columns() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  char const* const told = std::getenv("COLUMNS");
  int const columns = told == nullptr ? 0 : std::atoi(told);
  return columns > 0 ? columns : size.ws_col;
}

TextTable::TextTable(std::vector<TableColumn> columns, std::vector<std::string> const& less, int room) {
  for (std::size_t i = 0; i < columns.size(); ++i) shown_.push_back({columns[i], i});
  if (room <= 0) return;
  for (auto const& name : less) {
    if (width() <= room) break;
    std::erase_if(shown_, [&](auto const& one) { return one.column.name == name; });
    note_ += (note_.empty() ? "no room for: " : ", ") + name;
  }
  if (!note_.empty()) note_ += "\n";
  // Room that is left goes to the first text that would be cut off.
  int left = std::max(room - width(), 0);
  for (auto& [column, cell] : shown_) {
    int const before = std::abs(column.width);
    if (!column.cut || column.longest <= before) continue;
    column.longest = std::min(column.longest, before + left);
    left -= column.longest - before;
  }
}

int TextTable::width() const {
  int columns = 0;
  for (auto const& [column, cell] : shown_) columns += std::abs(column.width) + (columns > 0 ? column.gap : 0);
  return columns;
}

std::string TextTable::heading() const {
  std::vector<std::string> names;
  for (auto const& [column, cell] : shown_) {
    names.resize(cell + 1);
    names[cell] = column.name;
  }
  return note_ + row(names);
}

std::string TextTable::row(std::vector<std::string> const& cells) const {
  std::string line;
  for (std::size_t i = 0; i < shown_.size(); ++i) {
    auto const& column = shown_[i].column;
    std::size_t const width = std::abs(column.width), longest = std::max<std::size_t>(width, column.longest);
    auto const text = column.cut ? cells[shown_[i].cell].substr(0, longest) : cells[shown_[i].cell];
    std::string const padding(text.size() < width ? width - text.size() : 0, ' ');
    if (i > 0) line.append(column.gap, ' ');
    line += column.width < 0 ? text + padding : padding + text;
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace asymptop
