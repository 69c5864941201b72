"""What Adiak and Caliper hear of a run: options, provenance, figures of merit; the regions of Kokkos Tools.

By stand-ins for both (support/performance_tools) in a program that is linked for it, `asymptop_told`, and by the
libraries themselves where the program that is tested has been built with them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import Outcome, asymptop, binary
from test_figures_of_merit import figures

SIZES = ["--n", "2^9", "--d", "8", "--block", "64", "--force", "-o", "r.h5"]
RUNS = {
    "study": [
        "study",
        *SIZES,
        "--k",
        "8,4*n^0.5",
        "--rows",
        "6",
        "--draws",
        "2",
        "--sigma",
        "1.5",
        "--path",
        "blas-tile",
    ],
    "attend": ["attend", *SIZES, "--k", "8"],
    "precision": ["precision", "--n", "100,200", "--draws", "3", "--force", "-o", "r.h5"],
}
# A tool that Kokkos loads: the same lines of the regions that it hears of.
TOOL = """
#include <stdio.h>
void kokkosp_push_profile_region(char const* name) { fprintf(stderr, "kokkos begin %s\\n", name); }
void kokkosp_pop_profile_region(void) { fprintf(stderr, "kokkos end region\\n"); }
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    program = binary().with_name("asymptop_told")
    if not program.exists():
        pytest.skip(f"{program} is missing: built with the tests of C++")
    monkeypatch.setenv("ASYMPTOP_BINARY", str(program))


def values(outcome: Outcome) -> dict[str, tuple[str, str, str, str]]:
    """Type, category, subcategory and text by name, where there is one of a name."""
    found: dict[str, tuple[str, str, str, str]] = {}
    for line in outcome.stderr.splitlines():
        if line.startswith("adiak value\t"):
            _, name, *rest = line.split("\t")
            found[name] = (rest[0], rest[1], rest[2], rest[3])
    return found


def regions(outcome: Outcome, who: str) -> list[str]:
    return re.findall(rf"^{who} ((?:begin|end) .*)$", outcome.stderr, re.MULTILINE)


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.usefixtures("told")
def test_adiak_hears_of_the_run(command: str, tmp_path: Path) -> None:
    outcome = asymptop(*RUNS[command], ranks=2, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("adiak ")]
    assert (
        sorted(line for line in lines if "value" not in line)
        == ["adiak collect_all"] * 2 + ["adiak fini"] * 2 + ["adiak init 2"] * 2
    )
    found = values(outcome)
    shown, _ = figures(outcome.stdout)
    performance = {name for name, (_, category, *_) in found.items() if category == "3"}
    assert performance == shown.keys()
    for name, (value, unit, _) in shown.items():
        kind, _, subcategory, text = found[name]
        assert (kind, subcategory, float(text)) == ("double", unit, pytest.approx(value, rel=1e-5)), name
        assert sum(f"value\t{name}\t" in line for line in lines) == 1  # rank 0 alone
    expected = {"kind": ("string", command), "ranks": ("long long", "2")} | {
        "study": {
            "n": ("long long", "512"),
            "sigma": ("double", "1.5"),
            "k": ("string", "8,4*n^0.5"),
            "kernel_path": ("string", "blas-tile"),
        },
        "attend": {"path": ("string", "auto"), "kernel_path": ("string", "fused")},
        "precision": {"n": ("string", "100,200")},
    }[command]
    for name, (kind, text) in expected.items():
        assert found[f"asymptop.{name}"] == (kind, "2", "", text), name


@pytest.mark.parametrize("command", ["study", "attend"])
@pytest.mark.usefixtures("told")
def test_regions_nest_as_in_kokkos_tools(command: str, tmp_path: Path) -> None:
    """And go to one of the two: a tool that Kokkos has loaded may be Caliper's own connector."""
    (tmp_path / "tool.c").write_text(TOOL)
    library = tmp_path / "tool.so"
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the tool")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "tool.c"], check=True)
    loaded = {"KOKKOS_TOOLS_LIBS": str(library), "KOKKOS_PROFILE_LIBRARY": str(library)}
    by_tool = asymptop(*RUNS[command], cwd=tmp_path, settings=loaded)
    alone = asymptop(*RUNS[command], cwd=tmp_path)
    assert (by_tool.code, alone.code) == (0, 0), str(alone)
    expected = regions(by_tool, "kokkos")
    assert {line.removeprefix("begin ") for line in expected} >= {"Asymptop: write"}
    assert regions(by_tool, "caliper") == []
    assert regions(alone, "caliper") == expected


def test_the_libraries_themselves(tmp_path: Path) -> None:
    """Both write into a profile of Caliper's: what Adiak was told, and the regions."""
    libraries = subprocess.run(["ldd", binary()], capture_output=True, text=True, check=False).stdout
    if not ("libadiak" in libraries and "libcaliper" in libraries):
        pytest.skip("the program was built without -DASYMPTOP_ADIAK=ON -DASYMPTOP_CALIPER=ON")
    for ranks in (1, 2):
        profile = tmp_path / f"{ranks}.json"
        asked = {"CALI_CONFIG": f"hatchet-region-profile,output.format=json-split,output={profile}"}
        outcome = asymptop(*RUNS["attend"], ranks=ranks, cwd=tmp_path, settings=asked)
        assert outcome.code == 0, str(outcome)
        found = json.loads(profile.read_text())
        for name, (value, _, _) in figures(outcome.stdout)[0].items():
            assert float(found[name]) == pytest.approx(value, rel=1e-5), name
        wanted = {
            "asymptop.n": "512",
            "asymptop.kernel_path": "fused",
            "jobsize": str(ranks),
            "executable": binary().name,
        }
        assert {name: str(found[name]) for name in wanted} == wanted
        assert {node["label"] for node in found["nodes"]} >= {"Asymptop: attention", "Asymptop: write"}
