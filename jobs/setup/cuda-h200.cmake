# cmake -C jobs/setup/cuda-h200.cmake -DKokkos_ROOT=/where/kokkos/is -S . -B build/cuda -G Ninja && cmake --build build/cuda
# Nodes of H200 GPUs. Kokkos must have been built for them: -DKokkos_ENABLE_CUDA=ON -DKokkos_ARCH_HOPPER90=ON -DKokkos_ENABLE_SERIAL=ON
# -DKokkos_ENABLE_CUDA_LAMBDA=ON, with nvcc_wrapper as the compiler; Kokkos 4.7 or later for CUDA 13.
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
set(ASYMPTOP_NATIVE ON CACHE BOOL "")
set(ASYMPTOP_TESTS OFF CACHE BOOL "")
find_program(ASYMPTOP_NVCC_WRAPPER nvcc_wrapper HINTS ${Kokkos_ROOT}/bin $ENV{Kokkos_ROOT}/bin)
if(ASYMPTOP_NVCC_WRAPPER)
  set(CMAKE_CXX_COMPILER ${ASYMPTOP_NVCC_WRAPPER} CACHE FILEPATH "")
endif()
