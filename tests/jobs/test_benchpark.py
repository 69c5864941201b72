"""Files for Ramble and Benchpark: the application run by its own words, the experiment scaled.

Neither is in a registry of packages that tests can use. They are loaded against stand-ins for the words that they use;
where ASYMPTOP_RAMBLE names a clone of Ramble, its own commands set up, run and read the workspace of jobs/benchpark.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from command_line import SETTINGS, asymptop, binary
from own_environment import own_environment

ROOT = Path(__file__).resolve().parents[2]
BENCHPARK = ROOT / "jobs" / "benchpark"
APPLICATIONS = BENCHPARK / "repos" / "ramble_applications"
RAMBLE = os.environ.get("ASYMPTOP_RAMBLE", "")
WORDS = ("executable", "workload", "workload_variable", "figure_of_merit", "success_criteria")
Said = dict[str, list[tuple[tuple, dict[str, Any]]]]


def stand_ins(monkeypatch: pytest.MonkeyPatch, modules: dict[str, dict[str, Any]]) -> None:
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Said:
    said: Said = defaultdict(list)
    words = {word: lambda *a, _word=word, **k: said[_word].append((a, k)) for word in WORDS}
    stand_ins(monkeypatch, {"ramble": {}, "ramble.appkit": words | {"ExecutableApplication": object}})
    runpy.run_path(str(APPLICATIONS / "asymptop" / "application.py"))
    return said


SMALL = {
    "n": "300",
    "d": "8",
    "m": "6",
    "k": "10",
    "samples": "3",
    "draws": "2",
    "kernel": "score,merge",
    "program": "",
}


@pytest.mark.parametrize("workload", ["bench", "study"])
def test_figures_of_a_run_are_all_read(application: Said, tmp_path: Path, workload: str) -> None:
    """The executable's own words, with smaller values of the variables that the workload declares."""
    ((_, command), _) = next(entry for entry in application["executable"] if entry[0][0] == workload)
    declared = {a[0]: k["default"] for a, k in application["workload_variable"] if workload in k["workloads"]}
    values = {name: SMALL.get(name, default) for name, default in declared.items()}
    words = command.format(**values, experiment_run_dir=tmp_path).split()
    assert set(re.findall(r"{(\w+)}", command)) == declared.keys() | {"experiment_run_dir"}
    outcome = asymptop(*words)
    assert outcome.code == 0, str(outcome)
    read, lines = {}, [line for line in outcome.stdout.splitlines() if line.startswith("FOM ")]
    for line in lines:
        found = []
        for (name,), figure in application["figure_of_merit"]:
            if match := re.match(figure["fom_regex"], line):
                found.append((name.format(**match.groupdict()), match[figure["group_name"]], figure["units"]))
        if "FOM v1" not in line:
            ((name, value, unit),) = found
            read[name] = value
            assert line.split()[1:4] == [name, value, unit]
        else:
            assert found == []
    assert {"elapsed", "peak-memory-per-rank"} < read.keys()
    assert len(read) == len(lines) - 2  # but the first and the last, `FOM v1`


@pytest.mark.parametrize(("last", "good"), [("FOM v1 VALID", True), ("FOM v1 INVALID", False), ("FOM v1", False)])
def test_the_last_word_decides(application: Said, last: str, good: bool) -> None:
    ((_, criterion),) = application["success_criteria"]
    assert bool(re.search(criterion["match"], last)) == good


class Spec:
    """A spec of Benchpark's as far as the experiment asks it."""

    def __init__(self, *held: str) -> None:
        self.held = held

    def satisfies(self, what: str) -> bool:
        return what in self.held


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> type:
    class Experiment:
        name = "asymptop"

        def __init__(self, spec: Spec) -> None:
            self.spec, self.variables, self.required, self.packages = spec, {}, {}, {}

        def add_experiment_variable(self, name: str, value: Any, named: bool = False) -> None:
            self.variables[name] = value

        def set_environment_variable(self, name: str, value: str) -> None:
            self.variables[name] = value

        def set_required_variables(self, **given: str) -> None:
            self.required = given

        def determine_version(self) -> str:
            return "@main"

        def add_package_spec(self, name: str, spec: list[str]) -> None:
            self.packages[name] = spec

    class Scaled:
        def register_scaling_config(self, config: dict) -> None:
            self.config = config

    mode = Enum("ScalingMode", {"Strong": "strong", "Weak": "weak", "Throughput": "throughput"})
    model = Enum("ProgrammingModelType", {"Mpionly": "mpi", "Openmp": "openmp", "Cuda": "cuda", "Rocm": "rocm"})
    modules = {
        "benchpark": {},
        "benchpark.directives": {"variant": lambda *_, **__: None},
        "benchpark.experiment": {"Experiment": Experiment},
        "benchpark.programming_model": {
            "ProgrammingModelType": model,
            "ProgrammingModel": lambda *models: type("Models", (), {"models": models}),
        },
        "benchpark.scaling": {"ScalingMode": mode, "Scaling": lambda *_: Scaled},
    }
    stand_ins(monkeypatch, modules)
    return runpy.run_path(str(BENCHPARK / "experiments" / "asymptop" / "experiment.py"))["Asymptop"]


@pytest.mark.parametrize(("held", "resources"), [((), "n_ranks"), (("+openmp",), "n_ranks"), (("+cuda",), "n_gpus")])
def test_experiment_scales(experiment: type, application: Said, held: tuple, resources: str) -> None:
    made = experiment(Spec("exec_mode=test", *held))
    made.compute_applications_section()
    made.compute_package_section()
    assert made.packages == {"asymptop": ["asymptop@main"]}
    grown = {}
    for mode, config in made.config.items():
        first = {name: SimpleNamespace(val=lambda _, _name=name: made.variables[_name]) for name in config}
        grown[mode.value] = [rule(first[name], 0, 0, 2) // made.variables[name] for name, rule in config.items()]
        assert list(config) == [resources, "n"]
    assert grown == {"strong": [2, 1], "weak": [2, 2], "throughput": [1, 2]}
    sizes = {name: eval(text.format(**made.variables)) for name, text in made.required.items()}
    assert sizes == {"n_resources": 1, "process_problem_size": 2**16, "total_problem_size": 2**16}
    # What it sets, the application knows.
    known = {a[0] for a, _ in application["workload_variable"]} | {"n_ranks", "n_gpus", "n_threads_per_proc"}
    assert {name for name in made.variables if name.islower()} <= known


@pytest.mark.skipif(not RAMBLE, reason="ASYMPTOP_RAMBLE names no clone of Ramble")
def test_ramble_runs_the_workspace(tmp_path: Path) -> None:
    environment = own_environment() | SETTINGS | {"HOME": str(tmp_path)}
    workspace = tmp_path / "runs"
    text = (BENCHPARK / "ramble.yaml").read_text().replace("2^10,2^12,2^14", "2^10").replace("[1, 2, 4]", "[1, 2]")
    text = text.replace("    batch_submit:", f"    program: {binary()}\n    n: 2^14\n    samples: 3\n    batch_submit:")
    (tmp_path / "ramble.yaml").write_text(text)

    def ramble(*words: str | Path) -> None:
        command = [Path(RAMBLE) / "bin" / "ramble", *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    ramble("repo", "add", APPLICATIONS)
    ramble("workspace", "create", "-d", workspace, "-c", tmp_path / "ramble.yaml")
    ramble("-D", workspace, "workspace", "setup", "--dry-run")
    ramble("-D", workspace, "workspace", "setup")
    ramble("-D", workspace, "on")
    ramble("-D", workspace, "workspace", "analyze", "-f", "json")
    (results,) = (path for path in workspace.glob("results.*.json") if not path.is_symlink())
    experiments = json.loads(results.read_text())["experiments"]
    assert [one["RAMBLE_STATUS"] for one in experiments] == ["SUCCESS"] * 3
    names = {figure["name"] for one in experiments for context in one["CONTEXTS"] for figure in context["foms"]}
    assert {"elapsed", "pass-rate", "cases"} < names
