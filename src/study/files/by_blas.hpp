// Numbers that the BLAS makes, whose kernels, and so their last digits, are other ones on other kinds of CPU.
#pragma once

#include <hdf5.h>

#include "plan/plan.hpp"
#include "results/provenance.hpp"

namespace asymptop {

/// Whether a group has any.
bool is_by_blas(RunConfig const& config, GroupPlan const& group);

/// Throws RunError, with the reason, unless a file of what is not finished was made by the BLAS kernels of this run, where they matter.
void check_same_blas_kernel(hid_t file, Provenance const& provenance, RunConfig const& config, GroupPlan const& group);

}  // namespace asymptop
