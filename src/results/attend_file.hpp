// Results of full attention: HDF5, records, the table; and the file of its outputs.
#pragma once

#include <string>
#include <vector>

#include "config/attend_config.hpp"
#include "h5/shared_file.hpp"
#include "measure/attend/full_attention.hpp"
#include "plan/attend_plan.hpp"
#include "results/provenance.hpp"
#include "results/records.hpp"

namespace asymptop {

/// A measured case.
struct MeasuredAttention {
  AttendCase item;
  std::vector<AttendDraw> draws;
  int ranks = 0, threads = 0;
  double peak_bytes_per_rank = 0.0;

  /// Residuals of all draws: the worst of each.
  std::vector<BenchResidual> residuals() const;
  std::string verdict_reason() const { return asymptop::verdict_reason(residuals()); }
  char const* verdict() const { return verdict_reason().empty() ? "VALID" : "INVALID"; }
  /// Median over draws of flops over seconds; NaN where not measured.
  double exact_gflops() const;
  double top_k_gflops() const;
};

/// One results file of all cases so far, replaced as a whole (schema in README.md).
void write_attend_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredAttention> const& cases);

/// Tidy records of a case, one JSON object each.
std::vector<std::string> attend_records(MeasuredAttention const& measured);

std::string attend_table_heading();
std::string attend_table_rows(MeasuredAttention const& measured);

/// The file that --save-output names: a group per case and in it one per draw. It appears under its name when closed. Collective.
class OutputFile {
 public:
  OutputFile(Communicator const& comm, std::string path);
  ~OutputFile();
  void write(RingSequence const& sequence, std::int64_t draw, ExactAttention const* exact, TopKAttention const* top_k);
  void close();

 private:
  void write_rows(hid_t group, std::string const& name, RingSequence const& sequence, float const* rows, std::string const& long_name);

  Communicator const& comm_;
  std::string path_, part_;
  h5::Handle file_;
};

}  // namespace asymptop
