#include "config/config_file.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "config/errors.hpp"

namespace asymptop {
namespace po = boost::program_options;
namespace {

constexpr char const* blanks = " \t\r\f\v";

std::string trimmed(std::string const& text) {
  auto const begin = text.find_first_not_of(blanks);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::string without_comment(std::string const& line) {
  for (std::size_t at = line.find('#'); at != std::string::npos; at = line.find('#', at + 1)) {
    if (at == 0 || std::string(blanks).find(line[at - 1]) != std::string::npos) return line.substr(0, at);
  }
  return line;
}

std::string without_quotes(std::string const& value) {
  bool const quoted = value.size() >= 2 && value.front() == value.back() && (value.front() == '"' || value.front() == '\'');
  return quoted ? value.substr(1, value.size() - 2) : value;
}

/// Whether the bytes are UTF-8 without control characters other than blanks and ends of lines.
bool is_text(std::string const& bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    unsigned char const byte = bytes[i];
    if (byte < 32 && std::string("\t\n\r\f\v").find(bytes[i]) == std::string::npos) return false;
    std::size_t const length = byte < 0x80 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0;
    if (length == 0 || byte > 0xf4 || i + length > bytes.size()) return false;
    for (std::size_t next = 1; next < length; ++next) {
      if ((bytes[i + next] & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

/// A pipe gives its text once, and options are read twice, before Kokkos starts and after.
std::string read_text(std::string const& path) {
  static std::map<std::string, std::string> of_pipes;
  if (auto const known = of_pipes.find(path); known != of_pipes.end()) return known->second;
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path)) throw UsageError("--config", path, "cannot be read");
  std::ostringstream bytes;
  bytes << in.rdbuf();
  auto text = bytes.str();
  if (text.rfind("\xef\xbb\xbf", 0) == 0) text.erase(0, 3);
  if (!std::filesystem::is_regular_file(path)) of_pipes[path] = text;
  return text;
}

}  // namespace

po::parsed_options read_config_file(std::string const& path, po::options_description const& options) {
  po::parsed_options parsed(&options);
  std::istringstream lines(read_text(path));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line = trimmed(without_comment(line));
    if (!is_text(line)) throw UsageError("--config", path, "has a line " + std::to_string(number) + " that is no text in UTF-8 or ASCII");
    if (line.empty()) continue;
    auto const equals = line.find('=');
    auto const name = trimmed(line.substr(0, std::min(equals, line.size())));
    auto const where = "line " + std::to_string(number) + " ('" + line.substr(0, 60) + "') ";
    if (equals == std::string::npos || name.empty()) throw UsageError("--config", path, "has a " + where + "that is not NAME = VALUE");
    if (name == "config")
      throw UsageError("--config", path, "names another config in " + where + "which would not be read; put its lines here");
    po::option option(name, {without_quotes(trimmed(line.substr(equals + 1)))});
    option.original_tokens = {name};  // for messages
    parsed.options.push_back(std::move(option));
  }
  return parsed;
}

std::string expand_home(std::string const& path) {
  char const* const home = std::getenv("HOME");
  bool const meant = path == "~" || path.rfind("~/", 0) == 0;
  return meant && home != nullptr && *home != 0 ? home + path.substr(1) : path;
}

}  // namespace asymptop
