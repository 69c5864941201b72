// What Adiak and Caliper are given of a run, where Asymptop is built with them (ASYMPTOP_ADIAK, ASYMPTOP_CALIPER of CMake). Elsewhere
// nothing here does anything.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "results/figures_of_merit.hpp"
#include "results/provenance.hpp"

namespace asymptop {

/// Made when MPI and Kokkos have started and gone before they end; by all ranks. Adiak collects what it finds out by itself: user, launch
/// date, executable, cluster, hosts, job size. Caliper gets the regions of Kokkos Tools (kernels/core/region.hpp).
class PerformanceTools {
 public:
  explicit PerformanceTools(Communicator const& comm);
  ~PerformanceTools();
  PerformanceTools(PerformanceTools const&) = delete;
  PerformanceTools& operator=(PerformanceTools const&) = delete;
};

/// The text as `asymptop.NAME` of Adiak; as a number where it is one, or one size such as 2^20.
void report_to_adiak(std::string const& name, std::string const& text);

/// Each root attribute of one line, and each option in force as `asymptop.OPTION`.
void report_to_adiak(Provenance const& provenance);

/// Each by its own name, its unit as the subcategory; on rank 0.
void report_to_adiak(std::vector<FigureOfMerit> const& figures);

}  // namespace asymptop
