// Tidy records for machines: where they go, and how they name parameters.
#pragma once

#include <string>
#include <vector>

namespace asymptop {

/// A JSON array of records, to a file or to stdout for `-`. Throws RunError.
void write_record_list(std::string const& path, std::vector<std::string> const& records);

/// `1/n` stays as given; a plain number takes its shortest form, so that 1e-3 and 0.001 are one parameter.
std::string parameter_text(std::string const& law);

/// To a file, or to stdout for `-`. Throws RunError.
void write_records(std::string const& path, std::string const& text);

/// Throws UsageError unless records can be written there; `-` and empty always can.
void check_records_path(std::string const& path);

}  // namespace asymptop
