"""The job or launcher that this process may run in: its variables, an environment without them, its limits.

Whoever calls jobs/submit in the shell of a job (salloc, srun --pty, an Open OnDemand session) starts something new: its
ranks are no ranks of that job, and what sbatch is asked for is in the site file, not in what that job asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# Where Slurm is and who asks: of its clients, not of a job.
CLIENT = ("SLURM_CONF", "SLURM_JWT")
# Set in a job or by a launcher and nowhere else: these tell that there is one.
MARKS = re.compile(
    r"SLURM_(JOB|STEP_|ARRAY_|HET_|TASK|NODELIST$|NODEID$|LOCALID$|PROCID$|NTASKS|NPROCS$|NNODES$|GTIDS$|SUBMIT_"
    r"|CPUS_ON_NODE$|CLUSTER_NAME$|LAUNCH_|SRUN_COMM_|TOPOLOGY_|RESTART_COUNT$)|SLURMD_"
    r"|OMPI_COMM_WORLD_|PMI2?_(RANK|SIZE|FD|ID|PORT|JOBID|KVS)|PMIX_(RANK|NAMESPACE|ID|SERVER_)|PRTE_LAUNCHED$"
    r"|MPI_LOCAL|HYDI_|PALS_(APID|RANKID|NRANKS|NODEID|LOCAL)|FLUX_(JOB|TASK|URI)|JSM_|(PBS|LSB|COBALT)_JOBID$"
)
# What goes with them: Slurm's own; PMI; other schedulers;
OF_A_JOB = re.compile(
    r"_?SLURMD?_|SBATCH_|SRUN_|SPANK_|PMI(?!X_MCA_)|PMIX_MCA_mca_base_component_show_load_errors$"
    r"|PALS_|FLUX_|JSM_|PBS_|LSB_|COBALT_|PE_HOSTFILE$"
    # MPICH's launcher and its kin, and what Slurm tells them;
    r"|MPI_LOCAL|HYDI_|MV2_COMM_WORLD_|MPIRUN_|HYDRA_(BOOTSTRAP|LAUNCHER)|I_MPI_HYDRA_BOOTSTRAP"
    # Open MPI's world and how it was started, not its tuning (OMPI_MCA_btl, orte_tmpdir_base, ess_singleton_isolated).
    r"|OMPI_(COMM_|UNIVERSE_|WORLD_|APP_CTX_|NUM_APP_CTX|FIRST_RANKS|COMMAND|ARGV|FILE_LOCATION|TOOL_NAME|VERSION)"
    r"|OMPI_MCA_((ess|plm|ras|pmix|num_procs|initial_wdir|mpi_oversubscribe|orte_launch|orte_node_regex)$|ess_base_"
    r"|(plm|ras)_slurm_|shmem_RUNTIME_|orte_(ess_|app_num|bound_at_|num_|precondition_)|orte_\w+_(uri|session_dir)$)"
    r"|PRTE_(LAUNCHED|SHARED_FS|MCA_(ess|plm|ras)(_slurm|$))"
)
# The devices that a job was given: what runs here keeps to them, a new job gets its own.
DEVICES = re.compile(r"(CUDA|ROCR|HIP)_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$|ZE_AFFINITY_MASK$")
# Of Slurm's, those that it does not set by itself: wishes of the user, perhaps, or of the job's script.
WISHES = re.compile(r"SBATCH_(?!(CPU|MEM)_BIND)|SLURM_CLUSTERS$")


def _is_of_a_job(name: str) -> bool:
    return name not in CLIENT and OF_A_JOB.match(name) is not None


def is_within(environment: Mapping[str, str]) -> bool:
    return any(MARKS.match(name) for name in environment)


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """For what runs on this host as its own world."""
    return {name: value for name, value in environment.items() if not _is_of_a_job(name)}


def for_sbatch(environment: Mapping[str, str]) -> dict[str, str]:
    """For sbatch. Outside of jobs the user's own SBATCH_ACCOUNT and the like count, as for any sbatch; within one
    nothing tells them from what that job was asked for with, so none is handed on.
    """
    if not is_within(environment):
        return dict(environment)
    return {name: value for name, value in without(environment).items() if not DEVICES.match(name)}


def for_queries(environment: Mapping[str, str]) -> dict[str, str]:
    """For Slurm's commands that tell: also without the user's own filters and forms."""
    own = re.compile(r"(SQUEUE|SINFO|SACCT)_|SLURM_TIME_FORMAT$")
    return {name: value for name, value in for_sbatch(environment).items() if not own.match(name)}


def withheld(environment: Mapping[str, str]) -> list[str]:
    """Wishes that `for_sbatch` leaves out, by name."""
    return sorted(filter(WISHES.match, environment)) if is_within(environment) else []


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "").strip()
    return int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else 0


def cores(environment: Mapping[str, str]) -> int:
    """Those that this process may use here: its own, and of a job no more than it was given."""
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, _number(environment, "SLURM_CPUS_ON_NODE") or allowed)


def memory_bytes(environment: Mapping[str, str]) -> int | None:
    """Of a job on this node; None where it has no limit of its own."""
    per_cpu = _number(environment, "SLURM_MEM_PER_CPU") * _number(environment, "SLURM_CPUS_ON_NODE")
    limits = [size for size in (_number(environment, "SLURM_MEM_PER_NODE"), per_cpu) if size > 0]
    return min(limits) * 2**20 if limits else None
