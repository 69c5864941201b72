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
        ("export A B=x", ["A B"]),
        ("exportACCOUNT=x", ["exportACCOUNT"]),
        ("set ACCOUNT=x", ["set ACCOUNT"]),
        ("ACCOUNT: x", ["ACCOUNT: x", "KEY=VALUE"]),
        ("# fine\n\n  ACCOUNT=x\n\t= y", ["x.env:4:", "''"]),
        ("ACCOUNT=a\x1b[2J", ["ACCOUNT", "control character"]),
        ("A\u2028B\x85\x0c=x", ["unknown key"]),
        ("x" * 1000 + "=y", ["unknown key", "xxx"]),
        ("SCRATCH=~no-such-user-of-mine/runs", ["SCRATCH", "~no-such-user-of-mine/runs", "home"]),
        ("SCHEDULER=none\nLAUNCHER=srun", ["LAUNCHER", "srun", "mpirun"]),
        ("MAX_NODES=4 nodes", ["MAX_NODES", "4 nodes"]),
        ("MAX_NODES=\u00b2", ["MAX_NODES", "\u00b2"]),
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
        ("QOS=\nexport QOS=b", ["x.env:2:", "QOS", "twice"]),
    ],
)
def test_refused(line: str, named: list[str]) -> None:
    with pytest.raises(JobsError) as caught:
        parse_site("x", line + "\n", "x.env")
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 600
    assert caught.value.code == 2
    for word in ["x.env:", *named]:
        assert word in text


VALUES = {
    "a  # ours": "a",
    "a\t# ours": "a",
    "a#1": "a#1",
    'a # it\'s "ours"': "a",
    "# to be filled in": "",
    "#": "",
    "'a # b'  # ours": "a # b",
    '"a # b"': "a # b",
    '"a": "b"': '"a": "b"',
    "''": "",
    "o'brien  # it's his": "o'brien",
    "a = b": "a = b",
    "été": "été",
    "a\u00a0": "a",
}


@pytest.mark.parametrize("written", VALUES)
@pytest.mark.parametrize("line", ["ACCOUNT={}", "  export\tACCOUNT \t=\t{}  ", "\tACCOUNT= {}\r"])
def test_values(written: str, line: str) -> None:
    """As a shell reads them: quotes, comments, blanks."""
    site = parse_site("x", f"QOS=q\r\n{line.format(written)}\nPARTITION=p", "x.env")
    assert (site.account, site.qos, site.partition) == (VALUES[written], "q", "p")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("--mpi=pmix '--x=a b' # ours", ("--mpi=pmix", "--x=a b")),
        ("'--a b' --c 'd e'", ("--a b", "--c", "d e")),
        ("'--comment=a # b' --x=\"it's\"  # ours", ("--comment=a # b", "--x=it's")),
        ('--comment="a # b"', ("--comment=a # b",)),
        ('"gcc openmpi"', ("gcc", "openmpi")),
    ],
)
def test_words(written: str, words: tuple[str, ...]) -> None:
    assert parse_site("x", f"LAUNCHER_OPTIONS={written}", "x.env").launcher_options == words


ENCODINGS = {
    "a byte-order mark": b"\xef\xbb\xbf",
    "UTF-16, as Windows' editors say Unicode": None,
    "plain": b"",
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_what_editors_write(name: str, ends: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ends.join(["ACCOUNT=été", "# ends in … and \x85", "QOS=b", ""])
    mark = ENCODINGS[name]
    file = tmp_path / "x.env"
    file.write_bytes(text.encode("utf-16") if mark is None else mark + text.encode())
    site = read_site(str(file))
    assert (site.account, site.qos) == ("été", "b")
    assert capsys.readouterr().out == ""


def test_latin_1_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.env"
    file.write_bytes("# für uns\nACCOUNT=été # à nous\n".encode("latin-1"))
    assert read_site(str(file)).account == "été"
    assert capsys.readouterr().out == f"note: {file}:1 is not UTF-8; the file is read as Latin-1\n"


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ASYMPTOP_TEST_PLACE", "~/there")
    values = {"~": "", "~/runs": "/runs", '"~/my runs" # ours': "/my runs", "$HOME/runs": "/runs"}
    values |= {"$ASYMPTOP_TEST_PLACE/x": "/there/x", "~/a~b": "/a~b"}
    for written, below in values.items():
        site = parse_site("x", f"SCRATCH={written}\nBINARY={written}", "x.env")
        assert site.scratch == site.binary == f"{tmp_path}{below}"
    assert parse_site("x", "SCRATCH=a/~b", "x.env").scratch == "a/~b"
    (tmp_path / "mine.env").write_text("QOS=mine")
    assert read_site("~/mine.env").qos == "mine"


def test_the_launcher_without_slurm() -> None:
    assert parse_site("x", "SCHEDULER=none", "x.env").launcher == "mpirun"


def test_unknown_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
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
