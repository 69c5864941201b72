"""The plan as JSON: for this machine and for assumed ones, and what it says of case files with --resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from case_files import make_invalid
from command_line import assert_equal, asymptop
from model_files import random_model

SIZE = ("--n", "64,100", "--d", "8", "--sigma", "1,2", "--k", "4", "--rows", "4", "--draws", "2", "--block", "64")


def plan(folder: Path, *words: str) -> dict[str, Any]:
    outcome = asymptop("study", *words, "--dry-run", "--json", "-", cwd=folder)
    assert outcome.code == 0, str(outcome)
    assert "~seconds" in outcome.stderr
    return json.loads(outcome.stdout)


def test_cases_and_sizes(tmp_path: Path) -> None:
    found = plan(tmp_path, *SIZE, "-o", "a b.h5")
    assert [(group["n"], group["d"]) for group in found["groups"]] == [(64, 8), (100, 8)]
    cases = found["groups"][1]["cases"]
    assert [(case["id"], case["sigma"]) for case in cases] == [("n100-d8-sigma1", 1.0), ("n100-d8-sigma2", 2.0)]
    assert cases[0]["file"] == "a b.h5.cases/n100-d8-sigma1.h5"
    assert all(group["fits"] and group["seconds"] > 0 and group["bytes_per_rank"] > 1e7 for group in found["groups"])
    assert "state" not in cases[0]
    assert found["ranks"] == 1
    assert sorted(tmp_path.iterdir()) == []


COMMANDS = {
    "study": "--n 256,300 --sigma 2",
    "simulate": "--n 256,300 --sigma 2",
    "attend": "--n 256,300 --sigma 2",
    "precision": "--n 256,300 --sigma 2",
    "bench": "--kernel top-k,normals --n 256,300 --d 8 --m 4",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_plan_as_json(command: str, tmp_path: Path) -> None:
    """On stdout alone; what its cases are called is what the results call them."""
    words = [command, *COMMANDS[command].split(), *("--k", "8", "-o", "r.h5")]
    outcome = asymptop(*words, "--dry-run", "--json", "-", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert "300" in outcome.stderr
    found = json.loads(outcome.stdout)
    assert (found["kind"], found["command"], found["output"], found["skips"]) == ("plan", command, "r.h5", [])
    cases = found.get("cases") or [group | case for group in found["groups"] for case in group["cases"]]
    assert {case["n"] for case in cases} == {256, 300}
    assert all(case["bytes_per_rank"] > 1e7 for case in cases)
    assert all(case["sigma"] == 2.0 and case["k_of_law"] == [8] for case in cases if command != "bench")
    more = {"bench": ["--samples", "3"], "attend": [], "precision": []}
    rest = more.get(command, ["--rows", "4", "--draws", "2"])
    assert asymptop(*words, *rest, cwd=tmp_path).code == 0
    with h5py.File(tmp_path / "r.h5") as file:
        assert set(file["cases"]) == {case["id"] for case in cases}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("study --n 2^30 --d 4096 --keys resident", "n = 1073741824 needs "),
        ("study --n 2^40", "a rank would own 2^32 keys or more"),
        ("simulate --n 2^40 --k 64 --draws 1048576 --rows 1048576", "n = 1099511627776 needs "),
        ("attend --n 2^30", "it needs "),
        ("precision --n 2^30 --threads 256", "n = 1073741824 needs "),
        ("bench --n 2^40", "a rank would own 2^32 keys or more"),
    ],
)
def test_a_plan_of_which_nothing_can_be_measured(words: str, why: str, tmp_path: Path) -> None:
    """It is written with its reasons, and the command ends as the run would."""
    outcome = asymptop(*words.split(), "--dry-run", "--json", "-", cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    found = json.loads(outcome.stdout)
    assert outcome.stderr.splitlines()[-1] == f"asymptop: {found['refused']}"
    kept = found["groups"] if "groups" in found else found["cases"]
    assert kept or found["skips"]
    reasons = [one["reason"] for one in [*kept, *found["skips"]]]
    assert all(why in reason for reason in reasons)
    assert reasons[0] in found["refused"]
    assert not any(group["fits"] for group in kept)
    run = asymptop(*words.split(), cwd=tmp_path)
    assert run.code == 2
    (line,) = run.stderr.splitlines()
    # Free memory changes from run to run.
    assert line.split(" and ")[0] == f"asymptop: {found['refused']}".split(" and ")[0]
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_on_an_assumed_machine_says_why(tmp_path: Path) -> None:
    small = ("--machine", "nodes=1,ranks-per-node=1,threads=1,memory=200MB")
    groups = plan(tmp_path, "--n", "64,2^20", "--keys", "resident", "--k", "8", *small)["groups"]
    assert [group["fits"] for group in groups] == [True, False]
    assert "reason" not in groups[0]
    assert groups[1]["reason"].startswith("n = 1048576 needs ")


def test_where_nothing_fits_on_an_assumed_machine_the_plan_is_refused(tmp_path: Path) -> None:
    """With the code that the run would end with there, and the plan all the same."""
    words = ("study", "--n", "2^19,2^20", "--k", "8", "--machine", "memory=1MB", "--dry-run", "--json", "-")
    outcome = asymptop(*words, cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    found = json.loads(outcome.stdout)
    assert [group["fits"] for group in found["groups"]] == [False, False]
    assert found["refused"] == found["groups"][0]["reason"]
    assert outcome.stderr.splitlines()[-1] == f"asymptop: {found['refused']}"


@pytest.mark.parametrize("command", ["study", "attend", "precision"])
def test_the_sigma_of_tensors_is_not_known_beforehand(command: str, tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(132), texts=1, layers=(0,), n=70, d=6)
    file = model.texts[0][0].write(tmp_path / "t.h5")
    words = [command, "--input", str(file), "--n", "64", "--k", "8", "-o", "r.h5", "--dry-run", "--json", "-"]
    outcome = asymptop(*words, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    found = json.loads(outcome.stdout)
    cases = found.get("cases") or [case for group in found["groups"] for case in group["cases"]]
    assert {case["sigma_law"] for case in cases} == {"measured"}
    assert all("sigma" not in case for case in cases)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = asymptop("study", *SIZE, "-o", "file/s.h5", cwd=tmp_path)
    assert outcome.code == 2
    assert "--output: 'file/s.h5' is in file, which is a file" in outcome.stderr


def test_an_empty_folder_of_cases_is_none(tmp_path: Path) -> None:
    (tmp_path / "s.h5.cases").mkdir()
    outcome = asymptop("study", *SIZE, "-o", "s.h5", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)


def test_to_a_file(tmp_path: Path) -> None:
    outcome = asymptop("study", *SIZE, "--dry-run", "--json", "plan.json", cwd=tmp_path)
    assert outcome.code == 0
    assert "4 case(s)" in outcome.stdout
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["groups"] == plan(tmp_path, *SIZE)["groups"]


def test_assumed_machine(tmp_path: Path) -> None:
    """More nodes hold what one does not; the plan says so and goes on."""
    large = ("--n", "2^10,2^26", "--keys", "resident", "--k", "64")
    machine = "ranks-per-node=2,threads=4,memory=24GB"
    one, four = (plan(tmp_path, *large, "--machine", f"nodes={nodes},{machine}") for nodes in (1, 4))
    assert [group["fits"] for group in one["groups"]] == [True, False]
    assert [group["fits"] for group in four["groups"]] == [True, True]
    assert (four["ranks"], four["ranks_per_node"], four["threads"]) == (8, 2, 4)
    assert four["memory_bytes_per_node"] == 24e9
    assert one["groups"][1]["seconds"] > 2 * four["groups"][1]["seconds"]
    assert one["groups"][1]["bytes_per_rank"] > 2 * four["groups"][1]["bytes_per_rank"]


def test_assumed_gpus(tmp_path: Path) -> None:
    """What a study would take of a GPU's memory, asked for where there is none."""
    size = ("--n", "2^20,2^28", "--keys", "resident", "--k", "64", "--path", "device")
    machine = "nodes=2,memory=1TB,gpu-memory=80GB"
    found = plan(tmp_path, *size, "--machine", machine)["groups"]
    assert [group["fits"] for group in found] == [True, False]
    # Keys and values of half of them in fp32, at the least.
    assert found[1]["gpu_bytes_per_rank"] > 2**27 * 64 * 8 > found[0]["gpu_bytes_per_rank"] > 2**19 * 64 * 8
    outcome = asymptop("study", *size, "--machine", machine, "--dry-run", cwd=tmp_path)
    assert "GPU: --machine, 80.00 GB free, one for each rank" in outcome.stdout
    assert f"{found[0]['gpu_bytes_per_rank'] / 1e9:.2f} GB" in outcome.stdout
    assert all("gpu_bytes_per_rank" not in group for group in plan(tmp_path, *SIZE, "--machine", machine)["groups"])
    outcome = asymptop("study", *SIZE, "--dry-run", "--machine", "gpu-memory=much", cwd=tmp_path)
    assert outcome.code == 2
    assert "gpu-memory=much" in outcome.stderr


def test_batch_rows(tmp_path: Path) -> None:
    def rows(*words: str) -> list[int]:
        return [group["rows_per_batch"] for group in plan(tmp_path, *SIZE, *words)["groups"]]

    fused = asymptop("study", *SIZE, "--path", "fused", "--dry-run", cwd=tmp_path).code == 0
    paths = ["fused", "blas-tile"] if fused else ["blas-tile"]
    assert rows() == [4, 4]
    assert rows("--batch-rows", "3") == ([3, 3] if fused else [4, 4])
    tiled = ("--n", "100", "--rows", "60", "--path", "blas-tile", "--batch-rows")
    for most, found in (("1", 24), ("23", 24), ("50", 48), ("60", 60), ("100", 60)):
        assert [group["rows_per_batch"] for group in plan(tmp_path, *tiled, most)["groups"]] == [found], most
    outcome = asymptop("study", *SIZE, "--batch-rows", "257", cwd=tmp_path)
    assert outcome.code == 2
    assert "--batch-rows" in outcome.stderr
    for path in paths:
        size = (*SIZE[2:8], "--n", "60,200", "--rows", "50", "--draws", "2", "--block", "64", "--path", path)
        assert asymptop("study", *size, "-o", "whole.h5", "--force", cwd=tmp_path).code == 0
        for most in ("1", "3", "24", "49"):
            assert asymptop("study", *size, "--batch-rows", most, "-o", "parts.h5", "--force", cwd=tmp_path).code == 0
            assert_equal(tmp_path / "whole.h5", tmp_path / "parts.h5")


def test_states_of_case_files(tmp_path: Path) -> None:
    done = asymptop("study", *SIZE, "--case-files-only", cwd=tmp_path)
    assert done.code == 0, str(done)
    folder = tmp_path / "results.h5.cases"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert len(list(folder.iterdir())) == 4
    (folder / "n64-d8-sigma1.h5").unlink()
    (folder / "n64-d8-sigma2.h5").write_bytes(b"not HDF5")

    def states(*words: str) -> dict[str, str]:
        found = plan(tmp_path, *SIZE, "--resume", *words)
        return {case["id"]: case["state"] for group in found["groups"] for case in group["cases"]}

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert states() == {
        "n64-d8-sigma1": "absent",
        "n64-d8-sigma2": "unusable",
        "n100-d8-sigma1": "valid",
        "n100-d8-sigma2": "valid",
    }
    assert set(states("--epsilon", "0.2").values()) == {"absent", "unusable"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    make_invalid(folder / "n100-d8-sigma1.h5")
    assert states()["n100-d8-sigma1"] == "invalid"


def test_parts_are_one_study(tmp_path: Path) -> None:
    """Runs that share the folder of case files, each with its part of n; then one that finds all of them."""
    whole = asymptop("study", *SIZE, "-o", "whole.h5", cwd=tmp_path)
    assert whole.code == 0, str(whole)
    words = [word for word in SIZE if word not in ("--n", "64,100")]
    for n in ("100", "64"):
        assert asymptop("study", "--n", n, *words, "--case-files-only", "--resume", cwd=tmp_path).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "results.h5.cases").iterdir()}
    assert asymptop("study", *SIZE, "--resume", cwd=tmp_path).code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "results.h5.cases").iterdir()} == before
    assert asymptop("compare", "whole.h5", "results.h5", cwd=tmp_path).code == 0
