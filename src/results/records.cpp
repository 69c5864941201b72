#include "results/records.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "results/whole_file.hpp"

namespace asymptop {

std::string parameter_text(std::string const& law) {
  auto const value = number_of<double>(law);
  return value ? shortest(*value) : law;
}

void write_records(std::string const& path, std::string const& text) {
  std::ofstream file;
  if (path != "-") file.open(path);
  std::ostream& out = path == "-" ? std::cout : file;
  out << text;
  out.flush();
  // Standard output is looked at when the command ends.
  if (!out && path != "-") throw RunError("cannot write the records to " + path + ": " + std::strerror(errno));
}

void write_record_list(std::string const& path, std::vector<std::string> const& records) {
  std::string text = "[";
  for (std::size_t i = 0; i < records.size(); ++i) text += (i == 0 ? "\n" : ",\n") + records[i];
  write_records(path, text + "\n]\n");
}

void check_records_path(std::string const& path) {
  if (path.empty() || path == "-") return;
  namespace fs = std::filesystem;
  fs::path const target = link_target(path);
  std::error_code ignored;
  bool const there = fs::exists(path, ignored);
  // Opening is the only sure test; a file made by it goes away again.
  if (!std::ofstream(path, std::ios::app)) throw UsageError("--json", path, std::string("cannot be written: ") + std::strerror(errno));
  if (!there) fs::remove(target);
}

}  // namespace asymptop
