// Tidy records of a study's cases for machines, and the table for people.
#pragma once

#include <string>
#include <vector>

#include "results/records.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

/// One record: a metric of a case at a parameter.
struct Record {
  std::string metric;
  std::string parameter;
  std::string k_law;  ///< empty where no k is meant
  Estimate value;
};

/// A value along an axis that records are of.
struct Place {
  std::string parameter, k_law;
  std::size_t column;
};

/// Of every field that is recorded and there.
std::vector<Record> field_records(FieldValues const& data, FieldAxes const& axes, std::size_t draws, std::vector<Place> const& of_k,
                                  std::vector<Place> const& of_epsilon, std::vector<Place> const& of_threshold);

std::vector<Record> records_of(StudyCase const& study_case);

/// The records of a case as JSON objects, one a line.
std::vector<std::string> record_lines(StudyCase const& study_case);

/// Heading and rows of the results table. sgemm: rate of BLAS at the same tile, in GFLOP/s, beside which the pass is shown.
std::string table_heading();
std::string table_rows(StudyCase const& study_case, double sgemm);

}  // namespace asymptop
