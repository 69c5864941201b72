"""Skips the command tests where the binary is not built, and shows the seed of the random ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "support")]

import command_line  # noqa: E402
from failing_storage import failing_library  # noqa: E402
from running import Run  # noqa: E402

DEFAULT_SEED = 20240402


def test_seed() -> int:
    """Seed of the random cases: ASYMPTOP_TEST_SEED, else always the same."""
    return int(os.environ.get("ASYMPTOP_TEST_SEED", str(DEFAULT_SEED)))


def pytest_report_header() -> str:
    return f"asymptop: {command_line.binary()}, ASYMPTOP_TEST_SEED={test_seed()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if command_line.binary().is_file():
        return
    skip = pytest.mark.skip(reason=f"no binary at {command_line.binary()}: build it or set ASYMPTOP_BINARY")
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def seed() -> int:
    return test_seed()


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = failing_library(tmp_path_factory.mktemp("failing"))
    if library is None:
        pytest.skip("there is no C compiler for the library that makes calls fail")
    return library


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*arguments: object, **options: object) -> Run:
        runs.append(Run(*arguments, **options))  # type: ignore[arg-type]
        return runs[-1]

    yield begin
    for run in runs:
        if not run.over():
            run.kill()
