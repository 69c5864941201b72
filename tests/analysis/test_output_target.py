"""Files that are replaced as a whole: links stay links, devices and pipes are no outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from asymptop.__main__ import main
from make_results import write_results


def report(folder: Path, output: str) -> int:
    write_results(folder / "results.h5")
    try:
        return main(["report", str(folder / "results.h5"), "-o", str(folder / output)])
    except SystemExit as left:
        return int(left.code or 0)


def convert(folder: Path, output: str) -> int:
    rng = np.random.default_rng(1)
    np.savez(folder / "t.npz", **{name: rng.standard_normal((16, 4)).astype(np.float32) for name in "qkv"})
    return main(["convert", str(folder / "t.npz"), "--force", "-o", str(folder / output)])


@pytest.mark.parametrize("command", [report, convert])
def test_a_link_stays_one(command: Callable[[Path, str], int], tmp_path: Path) -> None:
    """One that leads nowhere yet, through another, and again when the file is there."""
    (tmp_path / "far").mkdir()
    (tmp_path / "out").symlink_to("far/second")
    (tmp_path / "far/second").symlink_to("third")
    for _ in range(2):
        assert command(tmp_path, "out") == 0
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "far/second").is_symlink()
        assert (tmp_path / "far/third").stat().st_size > 0
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["second", "third"]


@pytest.mark.parametrize("command", [report, convert])
def test_a_pipe_stays_one(
    command: Callable[[Path, str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "out")
    assert command(tmp_path, "out") in (1, 2)
    said = capsys.readouterr().err
    assert "is a device, a pipe or the like" in said
    assert len(said.splitlines()) == 1
    assert (tmp_path / "out").is_fifo()


INTO = [["report", "-o", "{}"], ["report", "-o", "r.html", "--extra-p", "{}"]]
INTO += [["advise", "--budget", "4", "--json", "{}"]]


@pytest.mark.parametrize("words", INTO)
def test_an_input_is_no_output(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under its own name and behind a link; what it holds stays."""
    results = write_results(tmp_path / "results.h5")
    (tmp_path / "link").symlink_to("results.h5")
    before = results.read_bytes()
    for name in ("results.h5", "link"):
        rest = [word.format(tmp_path / name) for word in words[1:]]
        assert main([words[0], str(results), *rest]) == 2
        said = capsys.readouterr().err
        assert "is an input itself, allowed is another name" in said
        assert len(said.splitlines()) == 1
        assert results.read_bytes() == before


def test_weights_do_not_replace_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "w.npz", W_Q=rng.standard_normal((8, 4)), W_K=rng.standard_normal((8, 4)))
    before = (tmp_path / "w.npz").read_bytes()
    assert main(["weights", str(tmp_path / "w.npz"), "--json", str(tmp_path / "w.npz")]) == 2
    assert "is an input itself" in capsys.readouterr().err
    assert (tmp_path / "w.npz").read_bytes() == before


OUTPUTS = [["report", "-o"], ["report", "--extra-p"], ["report", "--figures"], ["advise", "--budget", "4", "--json"]]


@pytest.mark.parametrize("words", [*OUTPUTS, ["weights", "--json"], ["scaling", "-o"]])
def test_what_cannot_be_written_is_refused_first(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the input is read, which is no results file at all; a folder is made where one is asked for."""
    (tmp_path / "input").write_text("none")
    (tmp_path / "file").write_text("kept")
    folder = words[-1] == "--figures" or words[0] == "scaling"
    refused = ["file/below", ""] if not folder else ["file", "file/below"]
    for name in refused if folder else [*refused, "missing/file", "."]:
        output = str(tmp_path / name) if name else ""
        with pytest.raises(SystemExit) as left:
            main([words[0], str(tmp_path / "input"), *words[1:], output])
        assert left.value.code == 2
        said = capsys.readouterr().err
        assert f"argument {'-o/--output' if words[-1] == '-o' else words[-1]}: " in said
        assert len(said.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "input"]
    assert (tmp_path / "file").read_text() == "kept"
