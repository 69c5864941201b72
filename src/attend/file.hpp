// Results of full attention: HDF5, records, the table; and the file of its outputs.
#pragma once

#include <string>
#include <vector>

#include "attend/config.hpp"
#include "attend/full_attention.hpp"
#include "attend/plan.hpp"
#include "h5/shared_file.hpp"
#include "results/provenance.hpp"
#include "results/records.hpp"

namespace asymptop {

/// A measured case.
struct MeasuredAttention {
  AttendCase item;
  std::vector<AttendDraw> draws;
  int ranks = 0, threads = 0;  ///< of each of the teams that worked beside one another
  int teams = 1;
  double peak_bytes_per_rank = 0.0;
  double device_peak_bytes = 0.0;  ///< of the memory of a rank's GPU, of the largest rank

  /// Residuals of all draws: the worst of each.
  std::vector<Residual> residuals() const;
  std::string verdict_reason() const { return asymptop::verdict_reason(residuals(), item.head >= 0 ? Products::of_file : Products::made); }
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

/// One draw of one case, as one team of ranks makes it.
struct AttendUnit {
  AttendCase const* item;
  std::int64_t draw;
};

/// The file that --save-output names: a group per case and in it one per draw. It appears under its name when closed. Collective over
/// all ranks.
class OutputFile {
 public:
  /// exact: whether exact attention is measured.
  OutputFile(Communicator const& comm, std::string path, bool exact);
  ~OutputFile();
  /// The draws that all teams make at once. `own`: which of them is this rank's; its outputs, null for what was not measured.
  void write(std::vector<AttendUnit> const& units, std::size_t own, RingSequence const& sequence, ExactAttention const* exact,
             TopKAttention const* top_k);
  /// On a rank that has none of them.
  void write(std::vector<AttendUnit> const& units);
  void close();
  /// What has been written, of a file that will not be closed.
  void remove_part() const;

 private:
  void write_unit(AttendUnit const& unit, RingSequence const* sequence, ExactAttention const* exact, TopKAttention const* top_k);

  Communicator const& comm_;
  std::string path_, part_;
  bool exact_;
  h5::Handle file_;
};

}  // namespace asymptop
