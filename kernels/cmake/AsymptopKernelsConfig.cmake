# find_package(AsymptopKernels): the target asymptop::kernels.
include("${CMAKE_CURRENT_LIST_DIR}/AsymptopKernelsDependencies.cmake")
if(asymptop_kernels_missing)
  list(JOIN asymptop_kernels_missing ", " asymptop_kernels_missing)
  set(AsymptopKernels_FOUND FALSE)
  set(AsymptopKernels_NOT_FOUND_MESSAGE "AsymptopKernels needs ${asymptop_kernels_missing}")
  return()
endif()
include("${CMAKE_CURRENT_LIST_DIR}/AsymptopKernelsTargets.cmake")
