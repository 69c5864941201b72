"""Site files: read, never executed; what is wrong in them is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.errors import JobsError
from slurm.sites import FOLDER, parse_bytes, parse_seconds, parse_site, read_site


def test_all_keys() -> None:
    site = parse_site(
        "x",
        """
        # a cluster
        ACCOUNT=proj-12
        PARTITION = "long queue"
        MODULES=gcc/13 openmpi
        LAUNCHER_OPTIONS=--mpi=pmix '--x=a b' {ranks}
        MEMORY_PER_NODE=256G
        CORES_PER_NODE=64
        MAX_TIME=1-12:00:00
        HDF5_FILE_LOCKING=FALSE
        """,
        "x.env",
    )
    assert site.account == "proj-12"
    assert site.partition == "long queue"
    assert site.modules == ("gcc/13", "openmpi")
    assert site.launcher_options == ("--mpi=pmix", "--x=a b", "{ranks}")
    assert site.memory_per_node == 256e9
    assert site.cores_per_node == 64
    assert site.max_time == 36 * 3600
    assert site.scheduler == "slurm"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.env")), ids=lambda path: path.stem)
def test_sites_that_come_along(path: Path) -> None:
    assert read_site(path.stem).name == path.stem
    assert read_site(str(path)) == read_site(path.stem)


def test_nothing_is_executed(tmp_path: Path) -> None:
    file = tmp_path / "evil.env"
    file.write_text(f"ACCOUNT=$(touch {tmp_path}/a)`touch {tmp_path}/b`; touch {tmp_path}/c\n")
    assert read_site(str(file)).account.startswith("$(touch")
    assert sorted(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("ACOUNT=x", ["ACOUNT", "ACCOUNT"]),
        ("account=x", ["account"]),
        ("export ACCOUNT=x", ["export ACCOUNT"]),
        ("just words", ["just words", "KEY=VALUE"]),
        ("CORES_PER_NODE=many", ["CORES_PER_NODE", "many"]),
        ("CORES_PER_NODE=0", ["CORES_PER_NODE", "0"]),
        ("MEMORY_PER_NODE=-4G", ["MEMORY_PER_NODE", "-4G"]),
        ("MAX_TIME=soon", ["MAX_TIME", "soon"]),
        ("LAUNCHER=ssh", ["LAUNCHER", "ssh", "srun", "mpirun"]),
        ("SCHEDULER=pbs", ["SCHEDULER", "pbs", "slurm", "none"]),
        ("HDF5_FILE_LOCKING=maybe", ["HDF5_FILE_LOCKING", "maybe", "BEST_EFFORT"]),
        ("MODULES='gcc", ["MODULES", "quotation"]),
        ("QOS=a\nQOS=b", ["QOS", "twice"]),
    ],
)
def test_refused(line: str, named: list[str]) -> None:
    with pytest.raises(JobsError) as caught:
        parse_site("x", line + "\n", "x.env")
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.code == 2
    for word in ["x.env:", *named]:
        assert word in text


def test_unknown_site() -> None:
    with pytest.raises(JobsError, match="local"):
        read_site("nowhere")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-2:30", 95400), ("2-00:00:01", 172801)],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_seconds("--time", text) == seconds


def test_bytes() -> None:
    assert [parse_bytes("--mem", text) for text in ("512M", "1.5T", "64GB", "1000")] == [512e6, 1.5e12, 64e9, 1000]
