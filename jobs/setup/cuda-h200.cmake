# cmake -C jobs/setup/cuda-h200.cmake -DKokkos_ROOT=/where/kokkos/is -S . -B build/cuda -G Ninja && cmake --build build/cuda
# Nodes of H200 GPUs, with nvcc 12 or later. Any Kokkos: fused kernels run on the cores, kernels/device/ on the GPU, in one program. A Kokkos built for
# CUDA (-DKokkos_ENABLE_CUDA=ON -DKokkos_ARCH_HOPPER90=ON; 4.7 or later for CUDA 13) brings its own compiler; with -DASYMPTOP_PORTABLE_DEVICE=ON
# the portable kernels run on the GPU, and no others.
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
set(ASYMPTOP_NATIVE ON CACHE BOOL "")
set(ASYMPTOP_TESTS OFF CACHE BOOL "")
set(ASYMPTOP_DEVICE ON CACHE BOOL "")
