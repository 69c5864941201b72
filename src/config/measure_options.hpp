// Options that every command that measures has.
#pragma once

#include <cstdint>
#include <string>

#include "config/options.hpp"

namespace asymptop {

/// What such a command is given beside what it measures.
struct MeasureOptions {
  std::string output;
  std::string config_file;  ///< empty for none
  bool force = false;
  bool dry_run = false;
  std::string json;   ///< file of the tidy records, `-` for stdout, empty for none
  std::string input;  ///< tensor file; empty for synthetic input, and for a command that reads none
  std::uint64_t seed = 1;
  int block = 4096;
  int threads = 0;

  std::string command_line;
  std::string config_text;  ///< the options in force, as a config file
};

/// Those options of a command line. Throws UsageError.
MeasureOptions measure_options(OptionValues const& values);

/// Whether --help was given; it is printed, unless print_help is false. The introduction stands before the options.
bool help_printed(OptionValues const& values, Commands command, char const* introduction, bool print_help);

}  // namespace asymptop
