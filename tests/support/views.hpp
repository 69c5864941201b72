// Views from host vectors and back, for tests that run in any execution space.
#pragma once

#include <gtest/gtest.h>

#include <Kokkos_Core.hpp>
#include <vector>

#include "kernels/core/types.hpp"

namespace asymptop::test {

/// Every kernel is tested in the serial space and in the default one (the same where Kokkos has nothing else).
using Spaces = ::testing::Types<Kokkos::Serial, Kokkos::DefaultExecutionSpace>;

template <class Space, class T>
Vector<Space, T> vector_of(std::vector<T> const& values) {
  Vector<Space, T> view("Asymptop::test::vector", values.size());
  auto host = Kokkos::create_mirror_view(view);
  for (std::size_t i = 0; i < values.size(); ++i) host(i) = values[i];
  Kokkos::deep_copy(view, host);
  return view;
}

template <class Space, class T>
Matrix<Space, T> matrix_of(std::vector<T> const& values, std::size_t rows) {
  Matrix<Space, T> view("Asymptop::test::matrix", rows, values.size() / rows);
  auto host = Kokkos::create_mirror_view(view);
  for (std::size_t i = 0; i < values.size(); ++i) host(i / host.extent(1), i % host.extent(1)) = values[i];
  Kokkos::deep_copy(view, host);
  return view;
}

template <class View>
auto host_copy(View const& view) {
  auto host = Kokkos::create_mirror_view(view);
  Kokkos::deep_copy(host, view);
  return host;
}

/// All values of a contiguous View.
template <class View>
auto values_of(View const& view) {
  auto const host = host_copy(view);
  return std::vector<typename View::non_const_value_type>(host.data(), host.data() + host.span());
}

}  // namespace asymptop::test
