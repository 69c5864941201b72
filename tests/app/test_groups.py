"""Heads shared out among groups of ranks: the same bytes for every number of groups, and no output is missing."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from command_line import Outcome, assert_equal, asymptop
from test_ranks import tensor_file

SMALL = ["--n", "60,300", "--block", "64", "--k", "1,n^0.5,n", "--rows", "5", "--draws", "2", "--mask", "causal"]

# heads: (ranks, groups)
SPLITS = {
    1: [(3, "auto"), (2, "1")],
    3: [(2, "2"), (3, "auto"), (4, "3"), (6, "1"), (6, "2"), (6, "3")],
    4: [(2, "auto"), (3, "2"), (4, "4"), (6, "4")],
}


def run(file: Path, output: Path, ranks: int, *more: str) -> Outcome:
    words = ["study", "--input", file, *SMALL, "-o", output, "--json", output.with_suffix(".json"), *more]
    outcome = asymptop(*words, ranks=ranks)
    assert outcome.code == 0, str(outcome)
    return outcome


def table(outcome: Outcome) -> list[str]:
    """Rows of the results table without rates, sorted: the order of groups is their own."""
    lines = outcome.stdout.split("verdict\n", 1)[1].split("results: ")[0].splitlines()
    return sorted(" ".join([*line.split()[:-3], line.split()[-1]]) for line in lines if line.endswith("VALID"))


@pytest.mark.parametrize("heads", SPLITS)
def test_same_bytes(heads: int, tmp_path: Path) -> None:
    file = tensor_file(tmp_path / "tensors.h5", heads, 300, 24, heads)
    alone = run(file, tmp_path / "alone.h5", 1)
    assert len(table(alone)) == heads * 2 * 3
    for ranks, groups in SPLITS[heads]:
        output = tmp_path / f"{ranks}-{groups}.h5"
        outcome = run(file, output, ranks, "--groups", groups)
        assert_equal(tmp_path / "alone.h5", output)
        assert table(outcome) == table(alone)
        assert output.with_suffix(".json").read_bytes() == (tmp_path / "alone.json").read_bytes()
        with h5py.File(output) as results:
            assert results.attrs["ranks"] == ranks
            assert groups == "auto" or results.attrs["groups"] == int(groups)


def test_resume_with_other_groups(tmp_path: Path) -> None:
    file = tensor_file(tmp_path / "tensors.h5", 3, 300, 24, 3)
    output = tmp_path / "r.h5"
    run(file, output, 4, "--groups", "3")
    output.rename(tmp_path / "first.h5")
    cases = sorted((tmp_path / "r.h5.cases").iterdir())
    cases[0].unlink()
    ages = [case.stat().st_mtime_ns for case in cases[1:]]
    run(file, output, 2, "--groups", "2", "--resume")
    assert ages == [case.stat().st_mtime_ns for case in cases[1:]]
    assert_equal(tmp_path / "first.h5", output)


def test_plan_shows_the_split(tmp_path: Path) -> None:
    file = tensor_file(tmp_path / "tensors.h5", 3, 300, 24, 3)
    # Of a machine that is assumed: a measured network moves heads from one group to the other.
    words = ["study", "--input", file, *SMALL, "--dry-run", "--machine", "nodes=3,memory=8GB"]
    outcome = asymptop(*words, "--groups", "2")
    assert outcome.code == 0, str(outcome)
    assert "2 groups of ranks" in outcome.stdout
    ranks = [line.split()[2:4] for line in outcome.stdout.splitlines() if line.split()[:2] == ["300", "24"]]
    assert ranks == [["0", "0"], ["1", "1-2"], ["2", "0"]]


def test_more_groups_than_heads(tmp_path: Path) -> None:
    file = tensor_file(tmp_path / "tensors.h5", 2, 300, 24, 3)
    for groups, named in [("3", "heads (2)"), ("0", "auto"), ("many", "auto")]:
        outcome = asymptop("study", "--input", file, *SMALL, "--groups", groups, ranks=4, cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        assert f"--groups: '{groups}'" in outcome.stderr
        assert named in outcome.stderr
    assert not list(tmp_path.glob("results*"))
