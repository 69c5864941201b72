// What the second pass over the keys is asked for and fills: probes, attention sums of every law, the audit.
#pragma once

#include <Kokkos_Core.hpp>
#include <vector>

#include "../core/math.hpp"
#include "../profile/probes.hpp"
#include "segments.hpp"

namespace asymptop {

template <class Space>
struct SecondPass {
  Segments<Space> segments;
  Probes<Space> probes;
  // Attention: one set of sums per law, (rows, boundaries + 1, d + 1); empty when output errors are off.
  std::vector<double> sigmas;
  float fp32_sigma(std::size_t law) const { return to_fp32(sigmas[law]); }
  std::vector<Tensor3<Space, std::int64_t>> sums;
  FixedPoint factor{};
  double softcap = 0.0, slope = 0.0;  ///< of the scores, as PackedQueries's: the audit caps and raises its own
  // Audit.
  Vector<Space, int> audit_rows;
  Matrix<Space, double> audit_queries;
  Vector<Space, std::int64_t> audit_places;  ///< as PathRows's, of the audited rows; empty without a slope
  Vector<Space, double> audit_sigmas;
  Kokkos::View<std::int64_t****, Kokkos::LayoutRight, typename Space::memory_space> audit_sums;
  Vector<Space, double> audit_worst;
};

}  // namespace asymptop
