# Sourced: defaults for Open MPI 4 and 5, each kept when already set. Those of mpirun itself are PRTE_MCA_... in 5, which no longer reads them
# as OMPI_MCA_...; other MPIs read none of them and need none.
# Ranks that wait give up their core: without it more ranks than cores crawl.
export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
# mpirun looks for OpenCL devices through hwloc. Where there is an OpenCL of a GPU's, that loads LLVM, which takes SIGUSR1 for itself: mpirun
# then forwards no request to stop (seen with Open MPI 4.1.6 on a host with an H200).
export HWLOC_COMPONENTS="${HWLOC_COMPONENTS:--opencl}"
# A host that is cut off is given up after 6 s, not 8 minutes, by mpirun and by its own daemon there.
export OMPI_MCA_oob_tcp_keepalive_time="${OMPI_MCA_oob_tcp_keepalive_time:-3}"
export OMPI_MCA_oob_tcp_keepalive_intvl="${OMPI_MCA_oob_tcp_keepalive_intvl:-1}"
export OMPI_MCA_oob_tcp_keepalive_probes="${OMPI_MCA_oob_tcp_keepalive_probes:-3}"
export PRTE_MCA_oob_tcp_keepalive_time="${PRTE_MCA_oob_tcp_keepalive_time:-$OMPI_MCA_oob_tcp_keepalive_time}"
export PRTE_MCA_oob_tcp_keepalive_intvl="${PRTE_MCA_oob_tcp_keepalive_intvl:-$OMPI_MCA_oob_tcp_keepalive_intvl}"
export PRTE_MCA_oob_tcp_keepalive_probes="${PRTE_MCA_oob_tcp_keepalive_probes:-$OMPI_MCA_oob_tcp_keepalive_probes}"
if [ "$(id -u)" = 0 ]; then  # containers and fresh virtual machines often have no other user
  export OMPI_ALLOW_RUN_AS_ROOT="${OMPI_ALLOW_RUN_AS_ROOT:-1}"
  export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}"
fi
