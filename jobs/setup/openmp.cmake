# cmake -C jobs/setup/openmp.cmake -S . -B build/openmp -G Ninja && cmake --build build/openmp
# Nodes of processor cores: Kokkos with OpenMP, vectors of the machine that compiles. Compile on (or for) the nodes that will run it.
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
set(ASYMPTOP_NATIVE ON CACHE BOOL "")
set(ASYMPTOP_TESTS OFF CACHE BOOL "")
# Name the cluster's own where CMake does not find them: -DKokkos_ROOT=... (built with Kokkos_ENABLE_OPENMP=ON), -DHDF5 by PKG_CONFIG_PATH.
