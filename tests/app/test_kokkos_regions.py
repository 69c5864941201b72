"""No kernel makes, frees or copies a View, fences or starts a kernel: Kokkos forbids it and may wait for ever.

Kokkos Tools' callbacks tell of it (kokkos_regions.c), also with versions of Kokkos that let it pass.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import asymptop
from every_command import COMMANDS, REFUSED, SIZES, write_tensors
from failing_storage import preloaded

# Long enough for thresholds that are guessed from a sample of the keys (first_pass.hpp); rows for several panels.
LONG = ["--n", "2^18", "--k", "1024", "--rows", "40", "--draws", "1", "--block", "4096", "--force", "-o", "long.h5"]
BENCH = ["bench", "--n", "2^18", "--d", "8", "--m", "20", "--k", "1024", "--samples", "3", "--force", "-o", "bench.h5"]
RUNS = COMMANDS | {
    "selectors": [
        [
            "study",
            "--n",
            "300",
            "--d",
            "8",
            "--rows",
            "6",
            "--draws",
            "1",
            "--selectors",
            "quest,shard-union:P=3",
            *SIZES,
        ]
    ],
    "long": [
        ["study", *LONG, "--d", "8"],
        ["study", *LONG, "--d", "8", "--keys", "streamed", "--merge", "tree"],
        ["study", *LONG, "--d", "8", "--path", "blas-tile"],
        ["study", *LONG, "--d", "8", "--inputs", "ar1:0.9,clusters:16,needle:2", "--output-error", "off"],
        ["attend", "--n", "2^10", "--d", "8", "--k", "300", "--mask", "causal", *SIZES],
    ],
    "long bench": [[*BENCH, "--path", "all", "--keys", "resident,streamed"]],
}
# Regions that profilers show, by what runs.
PHASES = {
    "study": {"profile", "evaluate", "second pass", "write"},
    "selectors": {"profile", "merge", "orders", "write"},
    "attend": {"attention", "write"},
    "bench": {"select", "write"},
}


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = preloaded("kokkos_regions", tmp_path_factory.mktemp("regions"))
    if library is None:
        pytest.skip("there is no C compiler for the library that watches")
    return library


def watched(library: Path) -> dict[str, str]:
    return {"KOKKOS_TOOLS_LIBS": str(library), "KOKKOS_PROFILE_LIBRARY": str(library)}


def lines_of(stderr: str) -> tuple[list[str], int]:
    """What was done inside kernels, and how many kernels there were in all ranks."""
    counts = re.findall(r"^Kokkos regions: (\d+) kernels, (\d+) violations$", stderr, re.MULTILINE)
    return sorted(set(re.findall(r"^Kokkos region: .*$", stderr, re.MULTILINE))), sum(int(n) for n, _ in counts)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n == "long bench" else n for n in RUNS])
def test_kernels_keep_to_themselves(name: str, tool: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "qkv.h5")
    measuring = {"study", "attend", "bench", "simulate", "precision"}
    phases: set[str] = set()
    for command in RUNS[name]:
        ranks = 2 if name in ("groups", "selectors") else 1
        outcome = asymptop(*command, ranks=ranks, threads=2, cwd=tmp_path, settings=watched(tool), timeout=300.0)
        assert outcome.code == (2 if command == REFUSED else 0), (command, str(outcome))
        wrong, kernels = lines_of(outcome.stderr)
        assert wrong == [], command
        phases |= set(re.findall(r"^Kokkos phase: 'Asymptop: (.*)'$", outcome.stderr, re.MULTILINE))
        assert kernels > 0 or command == REFUSED or command[0] not in measuring, (command, str(outcome))
    assert phases >= PHASES.get(name, set()), phases


WRONG = """
#include <stdint.h>
#include <dlfcn.h>
int main(int argc, char** argv) {
  void* tool = dlopen(argv[1], RTLD_NOW);
  void (*begin)(char const*, uint32_t, uint64_t*) = dlsym(tool, "kokkosp_begin_parallel_for");
  void (*end)(uint64_t) = dlsym(tool, "kokkosp_end_parallel_for");
  void (*fence)(char const*, uint32_t, uint64_t*) = dlsym(tool, "kokkosp_begin_fence");
  void (*finish)(void) = dlsym(tool, "kokkosp_finalize_library");
  uint64_t id = 0;
  fence("outside", 0, &id);
  begin("kernel", 0, &id);
  if (argc > 2) fence("inside", 0, &id);
  end(id);
  finish();
  return 0;
}
"""


@pytest.mark.parametrize("inside", [False, True])
def test_the_tool_sees_it(inside: bool, tool: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or "gcc"
    (tmp_path / "wrong.c").write_text(WRONG)
    subprocess.run([compiler, "-o", tmp_path / "wrong", tmp_path / "wrong.c", "-ldl"], check=True)
    call = [tmp_path / "wrong", tool, *(["x"] if inside else [])]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
    assert lines_of(done.stderr) == (["Kokkos region: fence of 'inside' inside 'kernel'"] if inside else [], 1)
