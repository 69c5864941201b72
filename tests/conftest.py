"""The order of test files: those that take longest, mostly waiting, begin first, or one worker ends alone with them."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

LONGEST = (
    "jobs/test_cluster.py",
    "app/test_leaving.py",
    "app/test_bench_scaling.py",
    "app/test_attend.py",
    "app/test_stop.py",
    "app/test_study_selectors.py",
    "app/test_study_calibrated.py",
    "app/test_soak.py",
    "kernels/test_library.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {TESTS / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
