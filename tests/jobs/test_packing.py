"""Groups become units, tasks and arrays: none is lost or doubled, none goes with what it may not, limits are kept."""

from __future__ import annotations

import dataclasses
import random

import pytest
from slurm.packing import Group, Limits, Task, Unit, bytes_of, make_arrays, make_tasks, make_units, minutes_of
from slurm.program import place


def random_groups(rng: random.Random) -> list[Group]:
    heads = rng.choice([[None], list(range(rng.randint(1, 7)))])
    sizes = sorted({2 ** rng.randint(4, 30) for _ in range(rng.randint(1, 12))})
    shapes = [
        (
            n,
            d,
            rng.choice([1, 1, 1, 2, 8]),
            rng.choice([1e-3, 1.0, 50.0, 2000.0, 9e4]) * rng.random(),
            rng.random() * 4e10,
            rng.choice(["resident", "streamed"]),
        )
        for n in sizes
        for d in ([64] if heads != [None] else rng.sample([16, 64, 128], rng.randint(1, 3)))
    ]
    return [
        Group(n, d, head, nodes, seconds, size, tuple(f"n{n}-d{d}-{head}-sigma{i + 1}" for i in range(2)), keys)
        for n, d, nodes, seconds, size, keys in shapes
        for head in heads
    ]


def random_limits(rng: random.Random) -> Limits:
    return Limits(
        safety=rng.choice([1.0, 3.0]),
        target_seconds=rng.choice([60.0, 3600.0]),
        max_seconds=rng.choice([None, 7200]),
        max_array_size=rng.randint(2, 9),
    )


@pytest.mark.parametrize("trial", range(60))
def test_packing(trial: int, seed: int) -> None:
    rng = random.Random(f"{seed} {trial}")
    groups, limits = random_groups(rng), random_limits(rng)
    rng.shuffle(groups)
    units = make_units(groups, limits)
    tasks = make_tasks(units, limits)
    arrays = make_arrays(tasks, limits, 1.25, "r1-")

    # A unit is the whole product of its lists: what the program measures when given them.
    by_place = {(group.n, group.d, group.head): group for group in groups}
    measured = [(n, unit.d, head) for unit in units for n in unit.n for head in unit.heads or (None,)]
    assert sorted(measured, key=str) == sorted(by_place, key=str)
    assert sorted(case for unit in units for case in unit.cases) == sorted(case for g in groups for case in g.cases)
    for unit in units:
        members = [by_place[(n, unit.d, head)] for n in unit.n for head in unit.heads or (None,)]
        assert {group.nodes for group in members} == {unit.nodes}
        assert {group.keys for group in members} == {unit.keys}
        assert unit.seconds == pytest.approx(sum(group.seconds for group in members))
        assert unit.bytes_per_rank == max(group.bytes_per_rank for group in members)
        assert len(members) == 1 or unit.seconds * limits.safety <= limits.target_seconds
        assert list(unit.n) == sorted(unit.n)

    assert [unit for task in tasks for unit in task.units] == units
    for task in tasks:
        assert {unit.nodes for unit in task.units} == {task.nodes}
        assert len(task.units) == 1 or sum(u.seconds for u in task.units) * limits.safety <= limits.target_seconds

    assert sorted(t.units[0].name for a in arrays for t in a.tasks) == sorted(t.units[0].name for t in tasks)
    assert len({array.name for array in arrays}) == len(arrays)
    for array in arrays:
        assert 1 <= len(array.tasks) <= limits.max_array_size
        for task in array.tasks:
            assert (task.nodes, minutes_of(task, limits), bytes_of(task, 1.25)) == (
                array.nodes,
                array.minutes,
                array.bytes_per_rank,
            )
            assert task.bytes_per_rank * 1.25 <= array.bytes_per_rank <= max(2**27, task.bytes_per_rank * 1.25 * 1.5)
            if limits.max_seconds is None:
                assert array.minutes * 60 >= sum(unit.seconds for unit in task.units) * limits.safety
            else:
                assert array.minutes * 60 <= limits.max_seconds


def test_small_cases_are_packed() -> None:
    """A sweep of small n in one task, the large one alone."""
    groups = [Group(2**i, 64, None, 1, 2.0**i / 1e6, 1e8, (f"n{2**i}",)) for i in range(10, 32)]
    tasks = make_tasks(make_units(groups, Limits()), Limits())
    assert [len([n for unit in task.units for n in unit.n]) for task in tasks] == [20, 1, 1]


def test_options_of_a_unit() -> None:
    unit = Unit("u0001", (64, 128), 16, (), 1, 1.0, 1.0, ())
    assert unit.options() == ["--keys", "resident", "--n", "64,128", "--d", "16"]
    assert dataclasses.replace(unit, heads=(0, 3)).options()[2:] == ["--n", "64,128", "--heads", "0,3"]


def plan(seconds: dict[int, float], fits: set[int]) -> dict:
    return {
        "groups": [
            {
                "n": n,
                "d": 64,
                "seconds": s,
                "bytes_per_rank": 1e9,
                "fits": n in fits,
                "keys": "resident",
                "cases": [{"id": f"n{n}"}],
            }
            for n, s in seconds.items()
        ]
    }


def test_fewest_nodes_that_do() -> None:
    plans = {
        1: plan({10: 1.0, 20: 2000.0, 30: 9000.0, 40: 50.0, 50: 1.0}, {10, 20, 30}),
        2: plan({10: 0.5, 20: 1000.0, 30: 5000.0, 40: 30.0, 50: 1.0}, {10, 20, 30, 40}),
        4: plan({10: 0.3, 20: 600.0, 30: 6000.0, 40: 20.0, 50: 1.0}, {10, 20, 30, 40}),
    }
    placed, too_large = place(plans, safety=3.0, target_seconds=3600.0)
    # In time; only on two nodes; in time on none, so where it is fastest; for memory; nowhere.
    assert {group.n: group.nodes for group in placed} == {10: 1, 20: 2, 30: 2, 40: 2}
    assert len(too_large) == 1
    assert "n = 50" in too_large[0]


def test_inputs_of_one_size_go_together() -> None:
    """The program splits a run by n, d and heads; a list of synthetic inputs is measured whole."""
    one, two = plan({10: 1.0}, {10}), plan({10: 5.0, 20: 1.0}, {10, 20})
    two["groups"][0] |= {"cases": [{"id": "n10-student"}], "keys": "streamed", "bytes_per_rank": 2e9}
    (ten, twenty), none = place({1: {"groups": one["groups"] + two["groups"]}}, safety=3.0, target_seconds=60.0)
    assert none == []
    assert (ten.n, ten.seconds, ten.bytes_per_rank, ten.keys) == (10, 6.0, 2e9, "streamed")
    assert ten.cases == ("n10", "n10-student")
    assert twenty.cases == ("n20",)


def test_memory_is_rounded_up() -> None:
    task = Task((Unit("u", (1,), 1, (), 1, 1.0, 1e9, ()),))
    assert bytes_of(task, 1.0) == 2**30
    assert bytes_of(task, 1.25) == 1.5 * 2**30
