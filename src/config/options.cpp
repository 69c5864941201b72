#include "config/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "config/config_file.hpp"
#include "config/errors.hpp"
#include "config/number_text.hpp"

namespace asymptop {
namespace po = boost::program_options;
namespace {

/// The file that a name stands for, whichever way it is written; of a relative name, where it is looked up from here.
std::string named_file(std::filesystem::path const& path) {
  std::error_code error;
  auto const whole = std::filesystem::weakly_canonical(path, error);
  return std::filesystem::absolute(error ? path : whole, error).lexically_normal();
}

/// What a command's --help lists before its other options, which follow in the table's order.
struct HelpOrder {
  Commands command;
  char const* word;  ///< the command's
  char const* first;
};
constexpr HelpOrder help_orders[] = {
    {for_study, "study", ""},
    {for_simulate, "simulate", "n d"},
    {for_attend, "attend",
     "help config json threads output force dry-run n d k sigma kernel mask spectral iterations input heads draws groups"},
    {for_bench, "bench", "help config json threads output force dry-run kernel n d m k keys path merge scaling rank-counts samples"},
    {for_precision, "precision", "help config json threads"}};

HelpOrder const& help_order(Commands command) {
  for (auto const& order : help_orders) {
    if (order.command == command) return order;
  }
  throw std::logic_error("not one command");
}

/// The rows of a command in the order of its help.
std::vector<Option> rows_of(OptionTable const& table, Commands command) {
  std::vector<Option> rows;
  std::istringstream first(help_order(command).first);
  for (std::string name; first >> name;) rows.push_back(as_taken(table.row(name), command));
  for (auto const& row : table.rows()) {
    bool const listed = std::any_of(rows.begin(), rows.end(), [&](Option const& other) { return std::string(other.name) == row.name; });
    if ((row.commands & command) != 0 && !listed) rows.push_back(as_taken(row, command));
  }
  return rows;
}

po::value_semantic* semantic_of(Option const& row) {
  if (row.kind == OptionKind::on) return po::bool_switch();
  if (row.kind == OptionKind::number) {
    auto* const value = po::value<double>();
    return row.fallback == nullptr ? value : value->default_value(std::stod(row.fallback));
  }
  auto* const value = po::value<std::string>();
  return row.fallback == nullptr ? value : value->default_value(row.fallback);
}

po::options_description descriptions(OptionTable const& table, Commands command) {
  po::options_description options("Options", 118, 80);
  for (auto const& row : rows_of(table, command)) {
    auto const names = std::string(row.name) + (*row.short_name == 0 ? "" : ",") + row.short_name;
    if (row.name == std::string("help")) {
      options.add_options()(names.c_str(), row.help);
    } else {
      options.add_options()(names.c_str(), semantic_of(row), row.help);
    }
  }
  return options;
}

std::string text_of(po::variable_value const& value) {
  if (auto const* text = boost::any_cast<std::string>(&value.value())) return *text;
  if (auto const* number = boost::any_cast<double>(&value.value())) return shortest(*number);
  if (auto const* on = boost::any_cast<bool>(&value.value())) return *on ? "true" : "";
  return "";
}

std::string replaced(std::string text, std::string const& what, std::string const& by) {
  auto const at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

}  // namespace

Option as_taken(Option const& row, Commands command) {
  auto taken = row;
  for (auto const& other : row.overrides) {
    if ((other.commands & command) == 0) continue;
    if (other.fallback != nullptr) taken.fallback = other.fallback;
    if (other.read != nullptr) taken.read = other.read;
    if (other.help != nullptr) taken.help = other.help;
  }
  return taken;
}

std::string OptionValues::text(std::string const& name) const {
  auto const found = given_.find(name);
  if (found != given_.end()) return found->second;
  auto const row = as_taken(table_->row(name), command_);
  return row.fallback == nullptr ? "" : row.fallback;
}

std::any OptionValues::value(std::string const& name) const {
  auto const row = as_taken(table_->row(name), command_);
  auto const written = text(name);
  if (row.kind == OptionKind::on) return written == "true";
  if (row.read != nullptr) return row.read("--" + name, written);
  return written;
}

std::string OptionValues::config_text() const {
  std::map<std::string, std::string> lines;
  for (auto const& row : table_->rows()) {
    if ((row.commands & command_) == 0 || row.identity == OptionIdentity::unrecorded) continue;
    auto const value = text(row.name);
    if (!value.empty()) lines[row.name] = std::string(row.name) + " = " + value + "\n";
  }
  std::string all;
  for (auto const& [name, line] : lines) all += line;
  return all;
}

Option const& OptionTable::row(std::string const& name) const {
  for (auto const& row : rows_) {
    if (name == row.name) return row;
  }
  throw std::out_of_range("no option is named " + name);
}

OptionIdentity OptionTable::identity(std::string const& name) const {
  for (auto const& row : rows_) {
    if (name == row.name) return row.identity;
  }
  return OptionIdentity::result;
}

std::string OptionTable::meaning(std::string const& name, std::string const& text) const {
  auto const found = std::find_if(rows_.begin(), rows_.end(), [&](Option const& row) { return name == row.name; });
  if (found == rows_.end() || found->read == nullptr) return text;
  try {
    auto const value = found->read("--" + name, text);
    if (auto const* number = std::any_cast<double>(&value)) return shortest(*number);
    if (auto const* number = std::any_cast<std::optional<double>>(&value)) return *number ? shortest(**number) : "";
    if (auto const* number = std::any_cast<std::int64_t>(&value)) return std::to_string(*number);
    if (auto const* path = std::any_cast<std::filesystem::path>(&value)) return path->empty() ? "" : named_file(*path);
  } catch (UsageError const&) {
    // of another version, which took it
  }
  return text;
}

std::string OptionTable::help(Commands command) const {
  std::ostringstream text;
  text << descriptions(*this, command);
  return text.str();
}

OptionValues OptionTable::read(Commands command, int argc, char const* const* argv) const {
  std::string const help = "; see asymptop " + std::string(help_order(command).word) + " --help";
  auto const options = descriptions(*this, command);
  OptionValues values(*this, command);
  try {
    po::variables_map found;
    auto const style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    // Words that belong to no option are collected, so that the message can name them.
    po::options_description all;
    all.add(options).add_options()("argument", po::value<std::vector<std::string>>());
    po::positional_options_description stray;
    stray.add("argument", -1);
    po::store(po::command_line_parser(argc, argv).options(all).style(style).positional(stray).run(), found);
    if (found.count("argument") != 0) {
      throw UsageError("argument", found["argument"].as<std::vector<std::string>>().front(), "belongs to no option" + help);
    }
    if (found.count("config") != 0) {
      po::store(read_config_file(expand_home(found["config"].as<std::string>()), options), found);
    }
    po::notify(found);
    for (auto const& [name, value] : found) {
      if (value.defaulted()) continue;
      auto const row = as_taken(this->row(name), command);
      auto& text = values.given_[name] = text_of(value);
      // A shell's variable that is not set: what it was to name would be left out unseen.
      if (text.empty() && row.kind == OptionKind::text && row.fallback != nullptr && *row.fallback == '\0') {
        throw UsageError("--" + name, text, "is no value; leave the option out for none");
      }
    }
  } catch (po::error const& error) {
    throw UsageError(std::string(error.what()) + help);
  }
  for (auto const& row : rows_) {
    if ((row.commands & command) != 0 && !values.help_wanted()) static_cast<void>(values.value(row.name));
  }
  return values;
}

void OptionTable::check_at(Commands command, std::string const& name, std::string const& named, std::string const& law, double value,
                           std::int64_t n) const {
  for (auto const& limit : row(name).limits) {
    if ((limit.commands & command) == 0 || value <= limit.largest) continue;
    std::ostringstream number;
    number << value;
    throw UsageError(named, limit.names_law ? law : number.str(),
                     replaced(replaced(limit.refusal, "{n}", std::to_string(n)), "{law}", law));
  }
}

std::string OptionTable::lines_of(OptionIdentity wanted, std::string const& config_text) const {
  std::istringstream in(config_text);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    if (identity(line.substr(0, line.find(" = "))) == wanted) kept += line + "\n";
  }
  return kept;
}

}  // namespace asymptop
