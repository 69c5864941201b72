#include "config/option_values.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <set>
#include <sstream>

#include "config/config_file.hpp"
#include "config/law.hpp"

namespace asymptop {
namespace po = boost::program_options;

std::int64_t parse_integer(std::string const& option, std::string const& text, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw UsageError(option, text, "is not an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

int threads_of_openmp(char const* text) {
  if (text == nullptr) return 0;
  // A list has a number for each level of nesting; the first is that of the only one here.
  std::string const first = std::string(text).substr(0, std::string(text).find(','));
  auto const begin = first.find_first_not_of(" \t"), end = first.find_last_not_of(" \t");
  if (begin == std::string::npos || first.find_first_not_of("0123456789", begin) <= end) return 0;
  std::int64_t threads = 0;
  auto const [stop, error] = std::from_chars(first.data() + begin, first.data() + end + 1, threads);
  if (error != std::errc() || threads > most_threads)
    throw UsageError("OMP_NUM_THREADS", text,
                     "is over " + std::to_string(most_threads) + " threads, the most of a rank; --threads overrides it");
  return static_cast<int>(threads);
}

int parse_groups(std::string const& text) {
  if (text == "auto") return 0;
  int groups = 0;
  auto const* end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, groups);
  if (error != std::errc() || stop != end || groups < 1) throw UsageError("--groups", text, "is neither auto nor a number from 1");
  return groups;
}

std::int64_t parse_size(std::string const& option, std::string const& text, std::int64_t largest) {
  auto const caret = text.find('^');
  std::string const allowed = "is not a whole number (or power, as 2^20) from 1 to " + std::to_string(largest);
  if (caret == std::string::npos) {
    std::int64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > largest) throw UsageError(option, text, allowed);
    return value;
  }
  std::int64_t base = 0, power = 0;
  auto const* end = text.data() + text.size();
  auto const [base_end, base_error] = std::from_chars(text.data(), text.data() + caret, base);
  auto const [power_end, power_error] = std::from_chars(text.data() + caret + 1, end, power);
  bool const numbers = base_error == std::errc() && base_end == text.data() + caret && power_error == std::errc() && power_end == end;
  if (!numbers || base < 1 || power < 0 || power > 1000) throw UsageError(option, text, allowed);
  std::int64_t value = 1;
  for (std::int64_t i = 0; i < power; ++i) {
    if (value > largest / base) throw UsageError(option, text, allowed);
    value *= base;
  }
  return value;
}

std::int64_t parse_block(std::string const& text) {
  auto const block = parse_size("--block", text, 1 << 20);
  if (block < 64 || (block & (block - 1)) != 0) throw UsageError("--block", text, "is not a power of two from 64 to 1048576");
  return block;
}

std::vector<std::int64_t> parse_heads(std::string const& list) {
  std::vector<std::int64_t> heads;
  if (list.empty()) return heads;
  for (auto const& item : split_list("--heads", list)) {
    auto const head = parse_integer("--heads", item, 0, 1 << 20);
    if (std::find(heads.begin(), heads.end(), head) != heads.end()) throw UsageError("--heads", list, "names head " + item + " twice");
    heads.push_back(head);
  }
  return heads;
}

std::vector<std::int64_t> parse_sizes(std::string const& option, std::string const& list, std::int64_t largest) {
  std::vector<std::int64_t> sizes;
  for (auto const& item : split_list(option, list)) {
    std::vector<std::string> parts;
    std::istringstream in(item);
    for (std::string part; std::getline(in, part, ':');) parts.push_back(part);
    if (item.empty() || item.back() == ':' || parts.empty() || parts.size() > 3)
      throw UsageError(option, item, "is not N, FIRST:LAST or FIRST:LAST:FACTOR");
    auto const first = parse_size(option, parts[0], largest);
    auto const last = parts.size() > 1 ? parse_size(option, parts[1], largest) : first;
    std::int64_t factor = 2;
    if (parts.size() > 2) {
      auto const* end = parts[2].data() + parts[2].size();
      auto const [stop, error] = std::from_chars(parts[2].data(), end, factor);
      if (error != std::errc() || stop != end || factor < 2 || factor > 1 << 20)
        throw UsageError(option, item, "has no whole factor from 2 to 1048576");
    }
    if (last < first) throw UsageError(option, item, "has its last before its first");
    for (auto n = first;; n *= factor) {
      sizes.push_back(n);
      if (n > last / factor) break;
    }
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

void add_common_options(po::options_description& options) {
  auto add = options.add_options();
  add("help,h", "print this and exit");
  add("config", po::value<std::string>(), "INI file with the same names as these options; the command line wins");
  add("json", po::value<std::string>()->default_value(""),
      "write tidy records to this file; - is stdout, and the table then goes to stderr");
  add("threads", po::value<std::string>()->default_value("0"),
      "threads per rank; 0 takes OMP_NUM_THREADS, else the cores that the rank may use");
}

MeasureOptions parse_measure_options(po::variables_map const& values) {
  auto const text = [&](char const* name) { return values[name].as<std::string>(); };
  MeasureOptions options;
  options.output = expand_home(text("output"));
  if (options.output.empty()) throw UsageError("--output", "", "is no file name");
  options.force = values["force"].as<bool>();
  options.dry_run = values["dry-run"].as<bool>();
  options.json = expand_home(text("json"));
  options.seed = static_cast<std::uint64_t>(parse_integer("--seed", text("seed"), 0, INT64_MAX));
  options.block = parse_block(text("block"));
  options.threads = static_cast<int>(parse_integer("--threads", text("threads"), 0, most_threads));
  if (options.threads == 0) options.threads = threads_of_openmp(std::getenv("OMP_NUM_THREADS"));
  options.config_text = as_config(values);
  return options;
}

std::string as_config(po::variables_map const& values) {
  std::ostringstream out;
  std::set<std::string> const not_data = {"help",   "config", "force",   "resume",      "dry-run",         "machine",
                                          "output", "json",   "threads", "save-output", "case-files-only", "checkpoint-minutes"};
  for (auto const& [name, value] : values) {
    if (not_data.count(name) != 0) continue;
    if (auto const* text = boost::any_cast<std::string>(&value.value())) {
      if (!text->empty()) out << name << " = " << *text << "\n";
    } else if (auto const* number = boost::any_cast<double>(&value.value())) {
      out.precision(17);
      out << name << " = " << *number << "\n";
    } else if (auto const* on = boost::any_cast<bool>(&value.value())) {
      if (*on) out << name << " = true\n";
    }
  }
  return out.str();
}

po::variables_map read_options(std::string const& command, int argc, char const* const* argv, po::options_description const& options) {
  std::string const help = "; see asymptop " + command + " --help";
  po::variables_map values;
  try {
    auto const style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    // Words that belong to no option are collected, so that the message can name them.
    po::options_description all;
    all.add(options).add_options()("argument", po::value<std::vector<std::string>>());
    po::positional_options_description stray;
    stray.add("argument", -1);
    po::store(po::command_line_parser(argc, argv).options(all).style(style).positional(stray).run(), values);
    if (values.count("argument") != 0) {
      throw UsageError("argument", values["argument"].as<std::vector<std::string>>().front(), "belongs to no option" + help);
    }
    if (values.count("config") != 0) {
      po::store(read_config_file(expand_home(values["config"].as<std::string>()), options), values);
    }
    po::notify(values);
  } catch (po::error const& error) {
    throw UsageError(std::string(error.what()) + help);
  }
  return values;
}

}  // namespace asymptop
