"""The list of mutations fits the sources. That each is noticed is run.py's business: it takes a build for each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ASYMPTOP_BINARY", ROOT / "build" / "release" / "asymptop")).parent


def test_names_differ() -> None:
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS) >= 20


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.name for m in MUTATIONS])
def test_changes_one_place(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new
    assert mutation.runs or mutation.tests


def test_named_tests_are_there() -> None:
    """Builds for processors without AVX-512 or AVX2 lack those for them."""
    listed = subprocess.run(["ctest", "--test-dir", BUILD, "-N"], capture_output=True, text=True, check=True).stdout
    there = set(re.findall(r"Test +#\d+: (\w+)", listed))
    named = {test for mutation in MUTATIONS for test in mutation.tests}
    assert {test for test in named - there if not re.search(r"_avx(2|512)$", test)} == set()
