"""What `report` prints: at most 25 lines of 100 columns, with the numbers of the file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asymptop.claims.registry import CLAIMS, MEASURED_CLAIMS, judge
from asymptop.criteria.cheapest import keys_for
from asymptop.criteria.heads import finding_words, heads_of
from asymptop.criteria.least_read import what_to_use
from asymptop.io.reader import open_results
from asymptop.io.selectors import selector_groups
from asymptop.io.series import exact_series, group_series
from asymptop.report.inputs import primary
from asymptop.report.summary import COLUMNS, LINES, study_findings, summary
from asymptop.theory.costs import costs_of
from case_files import changing
from make_results import Study, write_results
from make_selectors import write_selectors

STUDIES = {
    "synthetic": Study(n=(256, 1024, 4096), sigma=("1", "2*sqrt(log(n))"), k=("16", "n^0.5"), draws=4),
    "many": Study(
        n=(256, 1024), sigma=("1", "2", "3", "sqrt(log(n))", "1.5*sqrt(log(n))", "2*sqrt(log(n))"), draws=2,
        k=("16", "32", "n^0.25", "n^0.5", "12.8*n^0.5", "n^0.75"),
    ),
    "one n": Study(n=(256,), draws=3),
    "some invalid": Study(n=(256, 1024, 4096), invalid_n=(1024,)),
    "all invalid": Study(n=(256, 512), invalid_n=(256, 512)),
    "model": Study(n=(256, 1024), heads=3, layers=(0, 5), input="a-file-of-a-model.h5", draws=3, first_keys_mass=0.25),
    "heads": Study(n=(256,), heads=3, input="q.h5", draws=1),
}  # fmt: skip


def summary_of(path: Path) -> list[str]:
    with open_results(path) as results:
        lines = group_series(results.cases)
        series = exact_series(lines)
        judgements = judge(primary(lines), CLAIMS)
        if any(one.cases and not one.synthetic for one in series):
            judgements = (*judge(series, MEASURED_CLAIMS), *judgements)
        groups = selector_groups(lines)
        found = study_findings(results, lines, groups, series, judgements)
        return summary(results, groups, series, found).splitlines()


@pytest.mark.parametrize("name", STUDIES)
def test_it_fits_a_screen(tmp_path: Path, name: str) -> None:
    lines = summary_of(write_results(tmp_path / "r.h5", STUDIES[name]))
    assert len(lines) <= LINES - 2  # two more say where the page is
    assert max(map(len, lines)) <= COLUMNS
    numbers = [int(line.split(".")[0]) for line in lines if re.match(r"\d\. ", line)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_a_mean_of_another_n_says_so(tmp_path: Path) -> None:
    """A law of sigma that the largest n lacks; one case is no plural."""
    path = write_results(tmp_path / "r.h5", Study(n=(256, 1024, 4096), sigma=("1", "2"), k=("16",)))
    with changing(path) as file:
        (gone,) = (case for case in file["cases"].values() if (case.attrs["n"], case.attrs["sigma_law"]) == (4096, "2"))
        del file[gone.name]
    lines = summary_of(path)
    (row,) = (line for line in lines if line.startswith("   σ = 2 "))
    assert row.endswith(" at 2^10")
    (row,) = (line for line in lines if line.startswith("   σ = 1 "))
    assert " at " not in row
    lines = summary_of(write_results(tmp_path / "one.h5", Study(n=(256,))))
    assert lines[0].startswith("1 case, VALID: ")


def test_its_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", STUDIES["synthetic"])
    lines = summary_of(path)
    assert lines[0] == "6 cases, all VALID: n = 2^8 to 2^12, d = 64, 4 draws of 4 rows."
    with open_results(path) as results:
        for law in ("1", "2*sqrt(log(n))"):
            (case,) = (c for c in results.cases if (c.n, c.sigma_law) == (4096, law))
            (row,) = (line for line in lines if line.startswith(f"   σ = {law} "))
            cells = row.removeprefix(f"   σ = {law}").split()
            for cell, k in zip(cells[::2], (16, 64), strict=True):
                column = case.k.tolist().index(k)
                assert float(cell) == pytest.approx(np.mean(case.values("tail_mass")[:, :, column]), rel=5e-3)
            (need,) = (line for line in lines if line.startswith(f"   σ = {law}: k = "))
            column = case.epsilon.tolist().index(0.1)
            assert f"; {np.mean(case.values('k_epsilon')[:, :, column]):,.0f} of 2^12" in need
    assert any(line.startswith("2. Keys that a row needs for a tail mass of 0.1, mean over rows") for line in lines)
    assert lines[1].endswith(", and how it goes with n:")
    assert summary_of(write_results(tmp_path / "one.h5", STUDIES["one n"]))[1].endswith(" at n = 2^8:")
    assert any(re.match(r"3\. Claims: \d+ supported, ", line) for line in lines)


def test_invalid_cases_are_counted(tmp_path: Path) -> None:
    lines = summary_of(write_results(tmp_path / "r.h5", STUDIES["some invalid"]))
    assert lines[0].startswith("3 cases, 2 VALID, 1 INVALID and left out: ")


def test_a_model_opens_with_its_heads(tmp_path: Path) -> None:
    lines = summary_of(write_results(tmp_path / "r.h5", STUDIES["model"]))
    assert lines[1].startswith("1. A mean tail mass of 0.1 at n = 2^10 takes ")


def test_heads_with_a_window_are_told_too(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", STUDIES["model"])
    with changing(path) as file:
        for group in file["cases"].values():
            if group.attrs["layer"] == 5:
                group.attrs["window"] = 64
    lines = summary_of(path)
    assert lines[1].startswith("1. Where heads see all keys, a mean tail mass of 0.1 at n = 2^10 takes ")
    at = next(i for i, line in enumerate(lines) if line.startswith("2. "))
    assert lines[at].startswith("2. In a window of 64 keys, a mean tail mass of 0.1 at n = 2^10 takes ")
    assert "in the median of 3" in " ".join(lines[at : at + 2])
    # Those of heads in windows stand before these.
    assert any(line.startswith("3. Where heads see all keys, k = ") for line in lines)
    assert any(line.startswith("4. Where heads see all keys, the keys needed grow like n^C ") for line in lines)
    with open_results(path) as results:
        fits = {one.layer: one.fit for one in heads_of(group_series(results.cases), 0.1)}
    assert fits[0] is not None
    assert fits[5] is None  # what it sees does not grow


def test_heads_in_a_window_are_left_out_where_selectors_are_compared(tmp_path: Path) -> None:
    """All keys of a window are no selection: where others see all keys these are told of, else a smaller budget."""
    study = Study(n=(64, 256), heads=2, layers=(0, 5), input="t.h5", draws=3, k=("4", "n^0.5", "n^0.75"))
    path = write_selectors(tmp_path / "r.h5", study, ("random", "window"))
    for layers, words in (((5,), "Where heads see all keys: mass that 64 keys"), ((0, 5), "Mass that 16 keys")):
        with changing(path) as file:
            for group in file["cases"].values():
                if group.attrs["layer"] in layers:
                    group.attrs["window"] = 40
        text = " ".join(line.strip() for line in summary_of(path))
        assert f". {words} (k = " in text
        assert "means over 4 heads" in text if layers == (0, 5) else "means over 2 heads" in text


def test_heads_that_sinks_leave_nothing_need_no_key(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", STUDIES["model"])
    with changing(path) as file:
        for group in file["cases"].values():
            share = group["first_keys_mass"]
            group["sink_mass"] = np.full(share.shape, 0.95 if group.attrs["head"] == 1 else 0.5)
            for axis, name in enumerate(("draw", "row")):
                group["sink_mass"].dims[axis].attach_scale(group[name])
    with open_results(path) as results:
        heads = heads_of(group_series(results.cases), 0.1)
        assert [(one.keys == 0.0, one.rough, one.output_error is None) for one in heads if one.head == 1] == [
            (True, False, True)
        ] * 2
        assert all(one.keys > 1.0 for one in heads if one.head != 1)
        (first, *_) = finding_words(heads)
    assert "from 0 to " in first
    assert "2 of them need none: learned sinks leave keys less than that." in first


def test_selectors_stand_by_what_they_miss(tmp_path: Path) -> None:
    """With the keys that they keep where these are not as many as the budget has."""
    study = Study(n=(256, 1024), sigma=("2", "3"), k=("16", "n^0.5", "n-1"), draws=3)
    path = write_selectors(tmp_path / "r.h5", study, ("window:sinks=4", "random", "threshold"))
    with changing(path) as file:
        for group in file["cases"].values():
            if group.attrs.get("selector") == "threshold":
                group["kept"][...] = 37 * group["kept"][...]
    lines = summary_of(path)
    assert len(lines) <= LINES - 2
    assert max(map(len, lines)) <= COLUMNS
    text = " ".join(" ".join(lines).split())
    (found,) = re.findall(
        r"σ = 2: mass that ([\d,]+) keys \(k = \S+\) miss at n = \S+: (.*?)\. Made keys have no order", text
    )
    words = re.findall(r"(\S+) ([\d.]+)(?: \(keeps ([\d,]+)\))?(?:, |$)", found[1])
    n, keys = 1024, int(found[0].replace(",", ""))
    assert keys == 32  # not n - 1, of which next to nothing is missed
    assert {word[0]: word[2] for word in words} == {
        "score": "", "window:sinks=4": "", "random": "", "threshold": f"{37 * keys:,}"
    }  # fmt: skip
    # Those that keep more than the budget come last.
    ranks = [(more != "", float(value)) for _, value, more in words]
    assert ranks == sorted(ranks)
    assert ranks[-1][0]
    (use,) = re.findall(r"σ = 2, n = 2\^10, mean tail mass ([\d.]+): (\S+) reads least, ", text)
    with open_results(path) as results:
        read = {}
        for case in results.cases:
            costs, budgets = costs_of(case.selector), keys_for(case, float(use[0]))
            if (case.n, case.sigma_law) == (n, "2") and costs is not None and budgets is not None:
                read[case.selector] = costs.bytes_read(n, case.d, float(np.mean(budgets)))
        assert len(read) > 2
        assert use[1] == min(read, key=lambda name: read[name])
        for selector, value, _ in words:
            means = [
                np.mean(c.values("tail_mass")[:, :, c.k.tolist().index(keys)])
                for c in results.cases
                if (c.n, c.selector, c.sigma_law) == (n, selector, "2")
            ]
            assert float(value) == pytest.approx(np.mean(means), rel=5e-3), selector


def test_what_has_no_room_is_named(tmp_path: Path) -> None:
    """Other tail masses by their selector, and how much more the page has; the last line of all."""
    study = replace(STUDIES["many"], n=(64, 256), epsilon=(0.3, 0.1, 0.02))
    lines = summary_of(write_selectors(tmp_path / "r.h5", study, ("random", "window")))
    assert len(lines) <= LINES - 2
    assert lines[-1] == (
        "More in the page: 2 series; 2 laws of k; what a tail mass of 0.1, 0.02 takes; which selector ..."
    )
    small = Study(n=(64, 256), sigma=("1", "3"), draws=2, epsilon=(0.3, 0.1, 0.02))
    path = write_selectors(tmp_path / "s.h5", small, ("random", "window"))
    lines = summary_of(path)
    assert lines[-1] == (
        "More in the page: what a tail mass of 0.1, 0.02 takes; which selector reads least in 1 more series."
    )
    (told,) = (line for line in lines if line.startswith("   tail mass 0.1: "))
    with open_results(path) as results:
        groups = selector_groups(group_series(results.cases))
        found = what_to_use(groups)
        assert len(found) == 2 * 3
    for words, sentence in zip(told.strip().split("; "), found[1:3], strict=True):
        epsilon, name, spent, keys = re.fullmatch(r"tail mass (\S+): (\S+), (.*) for (\S+) keys", words).groups()
        assert f"mean tail mass {epsilon}: {name} reads least, {spent} per query and head for {keys} keys" in sentence
    one = replace(small, sigma=("1",), epsilon=(0.3,))
    assert "More in" not in "".join(summary_of(write_selectors(tmp_path / "o.h5", one, ("random",))))


def test_other_selectors_are_counted(tmp_path: Path) -> None:
    for names, words in (
        (["random", "window"], "none of the 2 other selectors is named"),
        (["random"], "the other selector is not named"),
    ):
        path = write_selectors(tmp_path / f"{len(names)}.h5", STUDIES["one n"], names)
        text = " ".join(line.strip() for line in summary_of(path))
        assert f" 3 draws of 4 rows. Exact top-k, where {words}. 1. " in text
