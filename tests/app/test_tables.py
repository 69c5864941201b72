"""Printed tables are as wide as the terminal; whole where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from command_line import SETTINGS, asymptop, binary
from own_environment import own_environment

COMMANDS = {
    "study": ["study", "--n", "2^10", "--k", "16,4*n^0.5", "--sigma", "1", "--draws", "2", "--rows", "4"],
    "simulate": ["simulate", "--n", "2^10", "--k", "16", "--sigma", "1", "--draws", "2", "--rows", "4"],
    "attend": ["attend", "--n", "2^9", "--k", "16", "--draws", "1"],
    "precision": ["precision", "--n", "2^9", "--sigma", "1", "--precision", "bf16"],
    "bench": ["bench", "--kernel", "score", "--n", "2^12", "--m", "8", "--samples", "3"],
    "scaling": ["bench", "--kernel", "score", "--n", "2^12", "--m", "8", "--samples", "3", "--scaling", "strong"],
}


def on_terminal(columns: int, words: list[str], folder: Path, told: dict[str, str]) -> list[str]:
    """Lines of a run whose standard output is a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in own_environment().items() if name != "COLUMNS"}
    environment |= SETTINGS | {"OMP_NUM_THREADS": "1"} | told
    command = [binary(), *words, "--force", "-o", folder / "out.h5"]
    process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the terminal's end, as Linux says it
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return said.decode().replace("\r\n", "\n").splitlines()


def table(lines: list[str]) -> list[str]:
    """The heading of the results and the rows under it."""
    (start,) = (i for i, line in enumerate(lines) if line.endswith("verdict"))
    return [
        lines[start],
        *(line for line in lines[start + 1 :] if line.endswith((" VALID", " INVALID")) and "FOM" not in line),
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_narrow_terminal_gets_the_columns_that_matter(name: str, tmp_path: Path) -> None:
    lines = on_terminal(80, COMMANDS[name], tmp_path, {})
    heading, *rows = table(lines)
    assert rows
    assert all(len(line) <= 80 for line in [heading, *rows])
    (told,) = (line for line in lines if line.startswith("no room for: "))
    left_out = told.removeprefix("no room for: ").split(", ")
    assert len(left_out) > 1
    # What is left is in the order of where there is room for all.
    whole, *_ = table(asymptop(*COMMANDS[name], "--force", "-o", tmp_path / "whole.h5").stdout.splitlines())
    assert len(whole) > 80
    for column in left_out:
        assert column in whole
        whole = re.sub(rf" {re.escape(column)} (?!law)", "  ", whole, count=1)
    assert whole.split() == heading.split()


def test_what_the_environment_says_counts_and_a_wide_terminal_gets_all(tmp_path: Path) -> None:
    words = COMMANDS["study"]
    heading, *_ = table(on_terminal(80, words, tmp_path, {"COLUMNS": "100"}))
    assert 80 < len(heading) <= 100
    lines = on_terminal(400, words, tmp_path, {})
    assert not any(line.startswith("no room") for line in lines)
    whole = asymptop(*words, "--force", "-o", tmp_path / "whole.h5", settings={"COLUMNS": "80"}).stdout.splitlines()
    assert table(lines)[0] == table(whole)[0]
    # A terminal without a width: what Open MPI gives a rank where mpirun's output is none.
    assert table(on_terminal(0, words, tmp_path, {"COLUMNS": "80"}))[0] == table(whole)[0]
