// Results of a study of arithmetic: HDF5, records, the table.
#pragma once

#include <string>
#include <vector>

#include "precision/config.hpp"
#include "precision/plan.hpp"
#include "precision/precision_rows.hpp"
#include "results/provenance.hpp"
#include "row/residual.hpp"

namespace asymptop {

/// A measured case.
struct MeasuredPrecision {
  PrecisionConfig const* config = nullptr;
  PrecisionCase item;
  PrecisionData data;
  PrecisionResiduals checks;
  double seconds_total = 0.0;
  std::string input{};  ///< name of the tensor file; empty: rows are drawn

  /// Sigma of a head: the root mean square over its rows.
  void settle_sigma();

  std::vector<Residual> residuals() const;
  std::string verdict_reason() const { return asymptop::verdict_reason(residuals()); }
  char const* verdict() const { return verdict_reason().empty() ? "VALID" : "INVALID"; }
};

/// One results file of all cases so far, replaced as a whole (schema in README.md).
void write_precision_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredPrecision> const& cases);

/// Tidy records of a case, one JSON object each.
std::vector<std::string> precision_records(MeasuredPrecision const& measured);

std::string precision_table_heading();
std::string precision_table_rows(MeasuredPrecision const& measured);

}  // namespace asymptop
