// The table of options: one row for each, whatever commands take it. Parsing, --help, the config text and the checks of values come from
// it, and what --resume, merge and compare ask of files: whether an option is part of a result's identity.
#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace asymptop {

/// A set of commands, a bit for each.
using Commands = unsigned;
inline constexpr Commands for_study = 1, for_simulate = 2, for_attend = 4, for_bench = 8, for_precision = 16, for_all = 31;

/// What of a result depends on an option.
enum class OptionIdentity {
  unrecorded,  ///< nothing, and the config text leaves it out: where results go, how the run is watched
  manner,      ///< nothing: how numbers are made that are the same
  contents,    ///< which numbers of a case there are: a case that holds more than is asked for serves
  case_id,     ///< which cases there are, by their ids
  of_case,     ///< the numbers of every case, by what it came to there: an attribute of the option's name
  result,      ///< the numbers of every case
  quantity     ///< and what they are numbers of: cases of others do not belong into one file
};

/// The value that a text means, checked. Throws UsageError, which names the option.
using OptionReader = std::function<std::any(std::string const& option, std::string const& text)>;

enum class OptionKind {
  text,
  number,    ///< a double
  on,        ///< given or not
  set_apart  ///< help and config: they have neither value nor line in the config text
};

/// The largest value of a law at any n.
struct OptionLimit {
  Commands commands;
  double largest;
  bool names_law;       ///< in the message, instead of the value
  char const* refusal;  ///< with {n} and {law} for those of the case
};

/// Where some commands differ from the row; what is null is the row's.
struct OptionOverride {
  Commands commands;
  char const* fallback = nullptr;
  OptionReader read = nullptr;
  char const* help = nullptr;
};

/// A row: its first line is made as an aggregate, the rest by the functions, one after another.
struct Option {
  char const* name;
  Commands commands;
  OptionIdentity identity;
  OptionKind kind;
  char const* fallback;  ///< the default; null: no value unless given
  OptionReader read;     ///< of a text, or of a number as text; null: as it is
  char const* help;
  std::vector<OptionOverride> overrides = {};
  char const* short_name = "";
  std::vector<OptionLimit> limits = {};

  Option but(Commands of, char const* other_fallback, OptionReader other_read, char const* other_help) && {
    overrides.push_back({of, other_fallback, std::move(other_read), other_help});
    return std::move(*this);
  }
  Option in_short(char const* letter) && {
    short_name = letter;
    return std::move(*this);
  }
  Option at_most(Commands of, double largest, bool names_law, char const* refusal) && {
    limits.push_back({of, largest, names_law, refusal});
    return std::move(*this);
  }
};

class OptionTable;

/// The options of a command line and its config file, at their defaults where neither names them.
class OptionValues {
 public:
  OptionValues(OptionTable const& table, Commands command) : table_(&table), command_(command) {}
  bool help_wanted() const { return given("help") || given("help-selector"); }
  /// On the command line or in the config file.
  bool given(std::string const& name) const { return given_.count(name) != 0; }
  /// As written.
  std::string text(std::string const& name) const;
  /// What the option's reader makes of it; for options that the command does not take, of the default.
  template <class T>
  T get(std::string const& name) const {
    return std::any_cast<T>(value(name));
  }
  bool on(std::string const& name) const { return get<bool>(name); }
  /// All that are recorded, as an INI file: what a reader needs to run the same again.
  std::string config_text() const;

 private:
  friend class OptionTable;
  std::any value(std::string const& name) const;

  OptionTable const* table_;
  Commands command_;
  std::map<std::string, std::string> given_;  ///< texts by name
};

class OptionTable {
 public:
  explicit OptionTable(std::vector<Option> rows) : rows_(std::move(rows)) {}
  std::vector<Option> const& rows() const { return rows_; }
  /// Throws std::out_of_range for a name that no row has.
  Option const& row(std::string const& name) const;
  /// `result` for a name that no row has: of a file by another version.
  OptionIdentity identity(std::string const& name) const;

  /// The options of one command for people.
  std::string help(Commands command) const;
  /// The command line, then the file that --config names; every value is checked unless help is asked for. Throws UsageError.
  OptionValues read(Commands command, int argc, char const* const* argv) const;
  /// Throws UsageError where a law's value at n is over the option's limit. `named`: as the user gave it, --R for the --sigma it means.
  void check_at(Commands command, std::string const& name, std::string const& named, std::string const& law, double value,
                std::int64_t n) const;

  /// What a text means to the option, in one spelling: of numbers and of what is left empty the value. As it is where it means nothing, and
  /// where no row has the name.
  std::string meaning(std::string const& name, std::string const& text) const;
  /// The lines of a config text whose options are of one identity.
  std::string lines_of(OptionIdentity identity, std::string const& config_text) const;

 private:
  std::vector<Option> rows_;
};

/// The program's own.
OptionTable const& option_table();

/// The row as the command has it: overrides put in their places.
Option as_taken(Option const& row, Commands command);

}  // namespace asymptop
