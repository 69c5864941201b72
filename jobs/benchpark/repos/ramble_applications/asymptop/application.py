# Asymptop for Ramble, alone or under Benchpark. Figures of merit are those of the block FOM v1 (jobs/README.md).
from ramble.appkit import *


class Asymptop(ExecutableApplication):
    """Benchmark suite for sparse attention at very long contexts: exact and top-k attention over sequence shards on MPI
    ranks, and what it says of the asymptotic claims that are made for it."""

    name = "asymptop"

    tags = ["attention", "c++", "kokkos", "mpi", "openmp", "cuda", "multi-node", "single-node", "deterministic"]

    executable(
        "bench",
        "{program} bench --kernel {kernel} --n {n} --d {d} --m {m} --k {k} --samples {samples}"
        " --output {experiment_run_dir}/bench.h5 --force",
        use_mpi=True,
    )
    executable(
        "study",
        "{program} study --n {n} --d {d} --rows {m} --draws {draws} --sigma {sigma} --k {k}"
        " --output {experiment_run_dir}/study.h5 --force",
        use_mpi=True,
    )
    workload("bench", executables=["bench"])
    workload("study", executables=["study"])

    both = ["bench", "study"]
    workload_variable("program", default="asymptop", description="the program, where it is not on PATH", workloads=both)
    workload_variable("n", default="2^18", description="keys of the context, over all ranks", workloads=both)
    workload_variable("d", default="64", description="head dimension", workloads=both)
    workload_variable("m", default="128", description="query rows, of each draw in a study", workloads=both)
    workload_variable("k", default="256", description="keys kept: a number; laws in n in a study", workloads=both)
    workload_variable("kernel", default="score,top-k,exact-attention", description="what is timed", workloads=["bench"])
    workload_variable("samples", default="5", description="timings of a case", workloads=["bench"])
    workload_variable("draws", default="8", description="independent draws of keys and queries", workloads=["study"])
    workload_variable("sigma", default="1", description="laws of the logits' deviation", workloads=["study"])

    # Names are those of cases, and Ramble knows one unit for each figure that it is told of: one for each unit, then.
    for group, unit in {
        "rate": "GFLOP/s",
        "frequency": "1/s",
        "share": "%",
        "time": "s",
        "memory": "MB",
        "count": "1",
    }.items():
        figure_of_merit(
            f"{{{group}}}",
            fom_regex=rf"^FOM +(?P<{group}>\S+) +(?P<value>\S+) +{unit} +(higher|lower)$",
            group_name="value",
            units=unit,
        )

    success_criteria("valid", mode="string", match=r"^FOM v1 VALID$", file="{log_file}")
