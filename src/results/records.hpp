// Tidy records for machines, and the table for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "results/study_case.hpp"

namespace asymptop {

/// One record: a metric of a case at a parameter.
struct Record {
  std::string metric;
  std::string parameter;
  std::string k_law;  ///< empty where no k is meant
  Estimate value;
};

std::vector<Record> records_of(StudyCase const& study_case);

/// The records of a case as JSON objects, one a line.
std::vector<std::string> record_lines(StudyCase const& study_case);

/// Collects records and renders the JSON array.
class RecordList {
 public:
  void add(std::string record) { lines_.push_back(std::move(record)); }
  /// Writes to a file, or to stdout for `-`. Throws RunError.
  void write(std::string const& path) const;

 private:
  std::vector<std::string> lines_;
};

/// `1/n` stays as given; a plain number takes its shortest form, so that 1e-3 and 0.001 are one parameter.
std::string parameter_text(std::string const& law);

/// To a file, or to stdout for `-`. Throws RunError.
void write_records(std::string const& path, std::string const& text);

/// Throws UsageError unless records can be written there; `-` and empty always can.
void check_records_path(std::string const& path);

/// Heading and rows of the results table. sgemm: rate of BLAS at the same tile, in GFLOP/s, beside which the pass is shown.
std::string table_heading();
std::string table_rows(StudyCase const& study_case, double sgemm);

}  // namespace asymptop
