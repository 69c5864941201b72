"""Submitting in the shell of a job, or under a launcher: nothing of it reaches what is started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import SETTINGS, binary
from jobs_commands import CLUSTER, jobs
from own_environment import own_environment
from slurm import surrounding

needs_program = pytest.mark.skipif(
    not binary().is_file(), reason=f"no binary at {binary()}: build it or set ASYMPTOP_BINARY"
)


def words_of(text: str) -> list[str]:
    return text.split()


# Of a batch job and a step of Slurm (22.05, 23.11), of a nested sbatch, of plugins.
SLURM = words_of("""
SLURM_JOB_ID SLURM_JOBID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_NTASKS SLURM_NPROCS SLURM_STEP_ID
SLURM_STEP_NUM_TASKS SLURM_PROCID SLURM_LOCALID SLURM_CPU_BIND SLURM_CPU_BIND_LIST SLURM_MEM_PER_CPU SLURM_CPUS_PER_TASK
SLURM_TRES_PER_TASK SLURM_RESTART_COUNT SLURM_DISTRIBUTION SLURM_EXPORT_ENV SLURM_HET_SIZE SLURM_JOB_NODELIST
SLURM_NODELIST SLURM_JOB_NUM_NODES SLURM_TASKS_PER_NODE SLURM_SUBMIT_DIR SLURM_MPI_TYPE SLURM_UMASK SLURMD_NODENAME
SLURMD_DEBUG SRUN_DEBUG SRUN_CPUS_PER_TASK SBATCH_EXCLUSIVE SBATCH_CPU_BIND SBATCH_MEM_BIND SLURM_CLUSTERS
_SLURM_SPANK_OPTION_pyxis_container_image SPANK_PYXIS_DEBUG OMPI_MCA_plm_slurm_args PRTE_MCA_plm_slurm_args
HYDRA_BOOTSTRAP HYDRA_LAUNCHER_EXTRA_ARGS I_MPI_HYDRA_BOOTSTRAP I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS
""")
# Of mpirun (Open MPI 4 and 5), mpiexec (MPICH, MVAPICH), Cray's PALS, Flux, jsrun, PBS and LSF.
LAUNCHERS = words_of("""
OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK OMPI_UNIVERSE_SIZE OMPI_MCA_orte_hnp_uri
OMPI_MCA_orte_ess_num_procs
OMPI_MCA_orte_local_daemon_uri OMPI_MCA_ess OMPI_MCA_ess_base_jobid OMPI_MCA_pmix OMPI_MCA_plm OMPI_FILE_LOCATION
OMPI_MCA_orte_jobfam_session_dir OMPI_MCA_orte_precondition_transports OMPI_WORLD_SIZE OMPI_TOOL_NAME PRTE_LAUNCHED
PMIX_RANK PMIX_NAMESPACE PMIX_SERVER_URI41 PMIX_SECURITY_MODE PMI_RANK PMI_SIZE PMI_FD PMI2_RANK MPI_LOCALRANKID
MPI_LOCALNRANKS HYDI_CONTROL_FD MV2_COMM_WORLD_SIZE PALS_RANKID PALS_NRANKS FLUX_URI FLUX_JOB_SIZE JSM_NAMESPACE_RANK
PBS_JOBID PBS_NODEFILE LSB_JOBID LSB_HOSTS
""")
# The user's own, in a job or not.
TUNING = words_of("""
PATH HOME OMP_NUM_THREADS OMPI_ALLOW_RUN_AS_ROOT OMPI_MCA_btl OMPI_MCA_btl_tcp_if_include OMPI_MCA_pml
OMPI_MCA_orte_tmpdir_base OMPI_MCA_ess_singleton_isolated OMPI_MCA_plm_rsh_agent OMPI_MCA_mpi_yield_when_idle OMPI_CXX
OMPI_MCA_oob_tcp_keepalive_time OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy PMIX_MCA_gds
PRTE_MCA_rmaps_default_mapping_policy HYDRA_IFACE I_MPI_FABRICS MV2_USE_CUDA UCX_TLS LSF_ENVDIR SLURM_CONF SLURM_JWT
SALLOC_ACCOUNT SQUEUE_FORMAT CUDA_VISIBLE_DEVICES
""")


def variables(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "1")


@pytest.mark.parametrize("name", [*SLURM, *LAUNCHERS])
def test_of_a_job(name: str) -> None:
    assert surrounding.without(variables(name)) == {}


@pytest.mark.parametrize("name", TUNING)
def test_of_the_user(name: str) -> None:
    """It says of no job, and is handed on to what runs here."""
    assert surrounding.without(variables(name, "SLURM_JOB_ID")) == variables(name)
    assert not surrounding.is_within(variables(name, "SBATCH_ACCOUNT", "SLURM_CPU_BIND", "SLURM_MPI_TYPE"))


def test_for_sbatch() -> None:
    outside = variables(*TUNING, "SBATCH_ACCOUNT", "SLURM_CLUSTERS", "SLURM_EXPORT_ENV")
    assert surrounding.for_sbatch(outside) == outside
    assert surrounding.withheld(outside) == []
    for mark in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_JOB_ID_HET_GROUP_0", "SLURM_NPROCS", "PMIX_RANK", "PMI_SIZE"):
        within = outside | variables(mark, "SBATCH_MEM_BIND")
        assert surrounding.for_sbatch(within) == variables(*TUNING[:-1]), mark
        assert surrounding.withheld(within) == ["SBATCH_ACCOUNT", "SLURM_CLUSTERS"]


def test_mpirun_leaves_no_trace() -> None:
    """All that the launcher of this machine tells its ranks."""
    outside = own_environment() | SETTINGS
    words = ["mpirun", "-n", "1", "env", "-0"]
    outcome = subprocess.run(words, env=outside, stdin=subprocess.DEVNULL, capture_output=True, timeout=60.0)
    inside = dict(entry.split("=", 1) for entry in outcome.stdout.decode().split("\0") if "=" in entry)
    assert surrounding.is_within(inside)
    left = set(surrounding.without(inside)) - set(outside)
    assert left <= {"_", "SHLVL", "HFI_NO_BACKTRACE", "IPATH_NO_BACKTRACE"}


def test_limits() -> None:
    here = len(os.sched_getaffinity(0))
    assert surrounding.cores({}) == here
    assert surrounding.cores({"SLURM_CPUS_ON_NODE": "1"}) == 1
    assert surrounding.cores({"SLURM_CPUS_ON_NODE": "many"}) == here
    assert surrounding.memory_bytes({}) is None
    assert surrounding.memory_bytes({"SLURM_MEM_PER_NODE": "0"}) is None, "all of it"
    per_cpu = {"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"}
    assert surrounding.memory_bytes(per_cpu) == 400 * 2**20
    assert surrounding.memory_bytes(per_cpu | {"SLURM_MEM_PER_NODE": "300"}) == 300 * 2**20


# Slurm's commands and mpirun: each writes down what it is asked and the names of all that it is told.
STAND_IN = r"""#!/bin/bash
name=${0##*/}
printf '%s %s\n' "$name" "$*" >>"$WHERE/asked"
compgen -e >"$WHERE/told-$name"
case $name in
  sbatch) echo $((4711 + $(grep -c ^sbatch "$WHERE/asked"))) ;;
  mpirun) exec {mpirun} "$@" ;;
  squeue) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
esac
"""
PROGRAM = """#!/bin/bash
case " $* " in *" --dry-run "* | *" merge "*) exec {binary} "$@" ;; esac
exit {code}
"""


class Place:
    """A folder with a case, a site and stand-ins, in the shell of a job."""

    def __init__(self, folder: Path, code: int) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir()
        names = ("sbatch", "squeue", "scontrol", "scancel", "sacct", "sinfo", "srun", "mpirun")
        texts = dict.fromkeys(names, STAND_IN.replace("{mpirun}", str(shutil.which("mpirun"))))
        texts["program"] = PROGRAM.format(binary=binary(), code=code)
        for name, text in texts.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        (folder / "c.cfg").write_text("n = 1024\nrows = 2\ndraws = 2\nk = 4\n")
        (folder / "s.env").write_text(CLUSTER)
        tuning = {name: "1" for name in TUNING if name.startswith("OMPI_ALLOW")}
        self.job = variables(*SLURM, *LAUNCHERS) | tuning | {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "6"}
        self.job |= {"WHERE": str(folder), "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_MEM_PER_CPU": "2000"}
        self.program = tools / "program"

    def run(self, command: str, *words: str | Path, code: int = 0) -> str:
        return jobs(command, *words, cwd=self.folder, code=code, settings=self.job)

    def submit(self, site: str, *words: str | Path, code: int = 0) -> str:
        given = ["c.cfg", "--site", site, "-o", "run", "--binary", self.program, "--no-report", "--submit"]
        return self.run("submit", *given, *words, code=code)

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def told(self, name: str) -> set[str]:
        return set((self.folder / f"told-{name}").read_text().split())


@pytest.mark.parametrize("code", [1, 75, 137])
@needs_program
def test_a_local_run(code: int, tmp_path: Path) -> None:
    """Its tasks know nothing of the job, and Slurm is asked nothing, however they end."""
    place = Place(tmp_path, code)
    text = place.submit("local", code=75 if code == 75 else 1)
    assert f"exit {code}" in text
    told = place.told("mpirun")
    assert {name for name in told if surrounding.OF_A_JOB.match(name)} == {"SLURM_CONF"}
    assert {"OMPI_MCA_btl", "OMPI_ALLOW_RUN_AS_ROOT"} <= told
    place.run("status", "run", code=1)
    place.run("finish", "run", code=1)
    place.run("submit", "--continue", "run", "--submit", code=75 if code == 75 else 1)
    assert {line.split()[0] for line in place.asked()} == {"mpirun"}


@needs_program
def test_the_limits_of_the_job_are_planned_with(tmp_path: Path) -> None:
    place = Place(tmp_path, 0)
    place.job |= {"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "20"}
    (tmp_path / "c.cfg").write_text("n = 2^22\nrows = 2\ndraws = 2\nk = 2^20\nkeys = resident\n")
    assert re.search(r"n = 4194304 needs .* and fits on no", place.submit("local", code=2))


@needs_program
def test_a_run_of_slurm(tmp_path: Path) -> None:
    place = Place(tmp_path, 0)
    text = place.submit("s.env")
    assert "note: within a job sbatch is not handed SBATCH_EXCLUSIVE, SLURM_CLUSTERS;" in text
    asked = place.asked()
    assert [line.split()[0] for line in asked] == ["sbatch", "sbatch"]
    assert "--dependency=afterany:4712" in asked[1]
    told = place.told("sbatch")
    assert {name for name in told if surrounding.OF_A_JOB.match(name)} == {"SLURM_CONF"}
    place.run("status", "run", code=75)
    assert [line for line in place.asked()[2:] if not re.fullmatch(r"squeue .* -j 4712", line)] == []
    place.run("finish", "run", code=75)
    place.run("submit", "--continue", "run")
    queries = [line.split(" -j ")[1] for line in place.asked()[2:]]
    assert set(queries) == {"4712"}, "only of its own jobs"
