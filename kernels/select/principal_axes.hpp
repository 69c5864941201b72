// Principal axes of vectors about the origin, by LAPACK.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" void dsyev_(char const* job, char const* triangle, int const* n, double* a, int const* row, double* values, double* work,
                       int const* work_size, int* info);

namespace asymptop {

/// vectors: (count, d). Returns (d, d), orthonormal rows: the eigenvectors of sum x x^T, that of the largest eigenvalue first.
/// Throws std::runtime_error where the eigenvalues do not converge, as those of numbers that are not finite.
inline std::vector<double> principal_axes(std::vector<float> const& vectors, int d) {
  std::size_t const width = d;
  std::vector<double> matrix(width * width, 0.0), values(width);
  for (std::size_t at = 0; at + width <= vectors.size(); at += width) {
    for (std::size_t a = 0; a < width; ++a) {
      for (std::size_t b = 0; b <= a; ++b) matrix[a * width + b] += vectors[at + a] * double{vectors[at + b]};
    }
  }
  // LAPACK counts by columns: what is the lower triangle here is the upper one there.
  int const work_size = 64 * d;
  int info = 0;
  std::vector<double> work(work_size);
  dsyev_("V", "U", &d, matrix.data(), &d, values.data(), work.data(), &work_size, &info);
  if (info != 0)
    throw std::runtime_error("the principal components of the keys were not found: LAPACK's dsyev says " + std::to_string(info));
  // Eigenvalues ascend, and each eigenvector is a run of d numbers.
  for (std::size_t a = 0; a < width / 2; ++a)
    std::swap_ranges(matrix.begin() + a * width, matrix.begin() + (a + 1) * width, matrix.begin() + (width - 1 - a) * width);
  return matrix;
}

}  // namespace asymptop
