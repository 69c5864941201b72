#include "study/files/by_blas.hpp"

#include "config/errors.hpp"
#include "h5/h5.hpp"

namespace asymptop {

bool is_by_blas(RunConfig const& config, GroupPlan const& group) {
  return group.path == &tiles_path || config.weights == Weights::product;  // whose W is a product of two matrices
}

void check_same_blas_kernel(hid_t file, Provenance const& provenance, RunConfig const& config, GroupPlan const& group) {
  if (!is_by_blas(config, group)) return;
  auto const theirs = h5::read_text_attribute(file, "blas_kernel");
  for (auto const& [name, value] : provenance.texts) {
    if (name == "blas_kernel" && value != theirs) throw RunError("it was made on another kind of CPU (blas_kernel " + theirs + ")");
  }
}

}  // namespace asymptop
