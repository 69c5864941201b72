#include "results/records.hpp"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "config/errors.hpp"
#include "results/whole_file.hpp"

namespace asymptop {

std::string shortest(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string parameter_text(std::string const& law) {
  double value = 0.0;
  auto const [end, error] = std::from_chars(law.data(), law.data() + law.size(), value);
  return error == std::errc() && end == law.data() + law.size() ? shortest(value) : law;
}

void write_records(std::string const& path, std::string const& text) {
  std::ofstream file;
  if (path != "-") file.open(path);
  std::ostream& out = path == "-" ? std::cout : file;
  out << text;
  out.flush();
  // Standard output is looked at when the command ends.
  if (!out && path != "-") throw RunError("cannot write the records to " + path);
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
  auto const folder = target.parent_path().empty() ? fs::path(".") : target.parent_path();
  std::error_code ignored;
  bool const there = fs::exists(path, ignored);
  // Opening is the only sure test; a file made by it goes away again.
  bool const writable =
      fs::is_directory(folder, ignored) && !fs::is_directory(path, ignored) && std::ofstream(path, std::ios::app).is_open();
  if (!writable) throw UsageError("--json", path, "cannot be written");
  if (!there) fs::remove(target);
}

}  // namespace asymptop
