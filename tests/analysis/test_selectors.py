"""Selectors in results files: lines of their own beside exact top-k, which every number that was there before is of."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import asymptop
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.claims.registry import CLAIMS, SELECTOR_CLAIMS, judge
from asymptop.claims.toml_file import read_claims
from asymptop.criteria.cheapest import need_of
from asymptop.criteria.least_read import what_to_use
from asymptop.criteria.selectors import FAR, NEAR, share_deviations
from asymptop.criteria.verdicts import Judgement, Verdict
from asymptop.io.reader import ResultsError, open_results
from asymptop.io.selectors import selector_groups, side_by_side
from asymptop.io.series import exact_series, group_series
from case_files import changing
from make_results import Study, write_results
from make_selectors import write_selectors

STUDY = Study(n=(64, 256, 1024), sigma=("1", "3"), k=("16", "n^0.75"), draws=6, epsilon=(0.5, 0.2))
EXACT = ("block-max:block=1", "quantised:fp32", "sparq:r=d", "shard-union:P=1")
OTHERS = ("window", "random", "block-max:block=16", "quantised:int4", "other:r=3")
SELECTORS = (*OTHERS, *EXACT)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same study with selectors and without."""
    folder = tmp_path_factory.mktemp("selectors")
    return write_selectors(folder / "with.h5", STUDY, SELECTORS), write_results(folder / "without.h5", STUDY)


@pytest.fixture
def copied(files: tuple[Path, Path], tmp_path: Path) -> Path:
    """One to be changed."""
    path = tmp_path / "changed.h5"
    path.write_bytes(files[0].read_bytes())
    return path


def verdicts(path: Path) -> dict[str, Judgement]:
    with open_results(path) as results:
        return {j.claim.id: j for j in judge(group_series(results.cases), SELECTOR_CLAIMS)}


def case_named(path: Path, ending: str) -> str:
    with open_results(path) as results:
        return next(case.id for case in results.cases if case.id.startswith("n1024") and case.selector == ending)


def test_cases_know_their_selector(files: tuple[Path, Path]) -> None:
    with open_results(files[0]) as results:
        assert {case.selector for case in results.cases} == {"score", *SELECTORS}
        assert [case.id for case in results.exact] == [c.id for c in results.cases if "selector" not in c.attributes]
        assert len(results.exact) == 6
        case = next(case for case in results.cases if case.selector == "block-max:block=16")
        data = asymptop.to_xarray(case)
        assert data.kept.dims == data.regret.dims == data.recall.dims == ("draw", "row", "k")
        assert data.attrs["selector"] == case.selector
        assert set(np.unique(data.kept.values % 16)) == {0}


def test_lines_of_selectors_stand_beside_exact_ones(files: tuple[Path, Path]) -> None:
    with open_results(files[0]) as results, open_results(files[1]) as without:
        lines = group_series(results.cases)
        assert len(lines) == 2 * (1 + len(SELECTORS))
        assert [s.title for s in exact_series(lines)] == [s.title for s in group_series(without.cases)]
        assert lines[:2] == exact_series(lines)
        for one in lines[2:]:
            assert one.exact is not None
            assert one.title == f"{one.exact.title}, {one.selector}"
            assert [c.n for c in one.cases] == [c.n for c in one.exact.cases]
            assert not one.predictable
        fit = asymptop.fit_law(next(s for s in lines if s.selector == "window"), "regret", at="n^0.75")
        assert fit.interval.low <= fit.exponent <= fit.interval.high
        groups = selector_groups(lines)
        assert [(g.words, list(g.lines)[:3]) for g in groups] == [
            (f"σ = {sigma}", ["score", "window", "random"]) for sigma in ("1", "3")
        ]
        assert [len(group) for group in side_by_side(lines)] == [1 + len(SELECTORS)] * 2
        assert selector_groups(exact_series(lines)) == ()
        assert side_by_side(exact_series(lines)) == []


@pytest.mark.parametrize("name", ["kept", "regret", "recall"])
def test_a_case_of_a_selector_without_its_numbers_is_refused(copied: Path, name: str) -> None:
    where = case_named(copied, "window")
    with changing(copied) as file:
        del file["cases"][where][name]
    with pytest.raises(ResultsError, match=rf"/cases/{where}: dataset '{name}' is missing"):
        open_results(copied)


def test_claims_are_judged_as_without_selectors(files: tuple[Path, Path]) -> None:
    with open_results(files[0]) as results, open_results(files[1]) as without:
        mine, its = judge(group_series(results.cases), CLAIMS), judge(group_series(without.cases), CLAIMS)
    assert [j.verdict for j in mine] == [j.verdict for j in its]
    assert [j.sentence for j in mine] == [j.sentence for j in its]
    assert [[repr(f.interval) for f in j.findings] for j in mine] == [
        [repr(f.interval) for f in j.findings] for j in its
    ]


def _without_section(text: str, name: str) -> str:
    """The report without its section on selectors, the findings, numbers of figures and what names the file."""
    text = re.sub(r'<h2 id="selectors">.*?(?=<h2 id="verdicts">)', "", text, flags=re.DOTALL)
    text = re.sub(r"<ol class='lead'>.*?(?=<nav)", "", text, flags=re.DOTALL)
    text = re.sub(r"<b>Figure \d+", "<b>Figure", text).replace(" of exact top-k with n from", " with n from")
    return text.replace('<a href="#selectors">Selectors</a>', "").replace(name, "FILE")


def test_report_is_the_same_but_for_its_section(
    files: tuple[Path, Path], tmp_path: Path, draw_only: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    draw_only("tail_mass_against_n", "k_epsilon_against_n")
    texts, printed = [], []
    for path in files:
        page = tmp_path / f"{path.stem}.html"
        assert command_line.main(["report", "--table", str(path), "-o", str(page)]) == 0
        texts.append(page.read_text(encoding="utf-8"))
        printed.append(capsys.readouterr().out)
    assert _without_section(texts[0], "with.h5") == _without_section(texts[1], "without.h5")
    assert "selectors" not in texts[1]
    for line in printed[1].splitlines():
        # What counts cases, and what stands behind the finding on selectors, has another number.
        counted = ("report:", "claim ", "More in the page: ")
        if not line.startswith(counted) and " cases, all VALID" not in line and ". Claims:" not in line:
            assert " ".join(line.split()) in [" ".join(other.split()) for other in printed[0].splitlines()]
    assert all(re.search(rf"^(NOT TESTED: .*)?\b{c.id}\b", printed[0], re.MULTILINE) for c in SELECTOR_CLAIMS)


def test_section_and_figures(files: tuple[Path, Path], tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only("tail_mass_against_n")
    folder = tmp_path / "figures"
    assert command_line.main(["report", str(files[0]), "-o", str(tmp_path / "r.html"), "--figures", str(folder)]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    section = text.split('<h2 id="selectors">')[1].split("<h2")[0]
    assert section.count("<figure") == 3
    assert [int(n) for n in re.findall(r"<b>Figure (\d+)\.", text)] == [1, 2, 3, 4]
    assert section.count(" reads least, ") == 4
    assert "Made keys have no order" in section
    assert "(d + 4)·n + 4·k·d" not in section
    assert "(d/2 + 4)·n + 4·k·d" in section
    assert "no formula" in section
    for claim in SELECTOR_CLAIMS:
        assert claim.id in section
    assert f"All {6 * len(SELECTORS)} cases of selectors are VALID." in section
    for name in ("tail_mass_against_kept", "k_epsilon_against_n", "tail_mass_against_bytes"):
        for ending in ("png", "pdf", "csv"):
            assert (folder / f"selectors_{name}.{ending}").stat().st_size > 500
    with (folder / "selectors_tail_mass_against_kept.csv").open(encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert {record["selector"] for record in records} == {"score", *SELECTORS}
    best = {(r["panel"], float(r["kept"])): float(r["tail_mass"]) for r in records if r["selector"] == "score"}
    for record in records:
        bound = best.get((record["panel"], float(record["kept"])))
        assert bound is None or float(record["tail_mass"]) >= bound - 1e-12
    with (folder / "selectors_tail_mass_against_bytes.csv").open(encoding="utf-8") as file:
        drawn = {record["selector"] for record in csv.DictReader(file)}
    assert "other:r=3" not in drawn


def test_invalid_cases_are_named_and_left_out(copied: Path, tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only("tail_mass_against_n")
    where = case_named(copied, "window")
    with changing(copied) as file:
        file["cases"][where].attrs["verdict"] = "INVALID"
        file["cases"][where].attrs["verdict_reason"] = "selection 1 over 0"
    assert command_line.main(["report", str(copied), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"{where}: selection 1 over 0" in text.split('id="selectors"')[1].split("<h2")[0]
    assert where not in text.split('id="checks"')[1].split("<h2")[0]


def test_a_file_without_exact_cases(copied: Path, tmp_path: Path) -> None:
    with changing(copied) as file:
        for name in [name for name, case in file["cases"].items() if "selector" not in case.attrs]:
            del file["cases"][name]
    assert command_line.main(["report", str(copied), "-o", str(tmp_path / "r.html")]) == 0
    section = (tmp_path / "r.html").read_text(encoding="utf-8").split('id="selectors"')[1].split("<h2")[0]
    assert "σ = 3, n = 2<sup>10</sup>" in section
    assert "exact top-k reads (" not in section
    assert command_line.main(["advise", str(copied), "--selectors"]) == 0
    assert command_line.main(["advise", str(copied), "--budget", "16"]) == 2


def test_heads_share_a_panel(
    tmp_path: Path, draw_only: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    draw_only("tail_mass_against_n")
    study = Study(n=(64, 256), heads=3, input="t.h5", draws=3, k=("n^0.75",), epsilon=(0.5,))
    path = write_selectors(tmp_path / "r.h5", study, ["random", "window"])
    with open_results(path) as results:
        (group,) = selector_groups(group_series(results.cases))
        assert (group.words, group.synthetic) == ("t.h5, 3 heads", False)
        assert [len(members) for members in group.lines.values()] == [3, 3, 3]
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "r.html")]) == 0
    section = (tmp_path / "r.html").read_text(encoding="utf-8").split('id="selectors"')[1].split("<h2")[0]
    assert "the smallest tail mass first; medians over 3 heads" in section
    assert "the fewest first; medians over 3 heads" in section
    assert "Made keys" not in section
    capsys.readouterr()
    assert command_line.main(["advise", str(path), "--selectors", "--epsilon", "0.5", "--lengths", "256"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("t.h5:\nmean tail mass at n = 2^8; ")
    assert printed.count("t.h5") == 1  # of all heads
    assert re.search(r"^head 2 +0\.5 ", printed, re.MULTILINE)


def test_theory_of_selectors(files: tuple[Path, Path]) -> None:
    found = verdicts(files[0])
    assert found.pop("F-vattention").verdict is Verdict.NOT_TESTED  # test_estimators.py has its cases
    assert {name: j.verdict for name, j in found.items()} == dict.fromkeys(found, Verdict.SUPPORTED)
    assert [f.parameter for f in found["F-random"].findings] == ["all k"] * 2
    assert len(found["F-best"].findings) == 2 * len(SELECTORS)
    for judgement in verdicts(files[1]).values():
        assert judgement.verdict is Verdict.NOT_TESTED
        assert re.fullmatch(r"The file has no VALID case of .*\.", judgement.sentence)


@pytest.mark.parametrize(
    ("selector", "dataset", "change", "claim"),
    [
        ("random", "tail_mass", lambda v: np.minimum(1.0, v * 1.2), "F-random"),
        ("window", "regret", lambda v: v - 1e-9, "F-best"),
        ("window", "tail_mass", lambda v: v * 0.1, "F-best"),
        ("block-max:block=1", "row_l2_error", lambda v: np.nextafter(v, 2.0), "F-blocks"),
        ("quantised:fp32", "k_epsilon", lambda v: v + 1, "F-fp32"),
        ("sparq:r=d", "row_linf_error", lambda v: np.nextafter(v, 2.0), "F-channels"),
        ("shard-union:P=1", "tail_mass", lambda v: np.nextafter(v, 2.0), "F-shards"),
    ],
)
def test_what_breaks_theory_is_seen(copied: Path, selector: str, dataset: str, change: Callable, claim: str) -> None:
    where = case_named(copied, selector)
    with changing(copied) as file:
        data = file["cases"][where][dataset]
        data[...] = change(data[...])
    found = verdicts(copied)
    assert {name for name, j in found.items() if j.verdict is Verdict.CONTRADICTED} == {claim}


def test_random_keys_stay_within_the_standard_errors(tmp_path: Path) -> None:
    """Heavy tails and few rows, where a Gaussian test by the spread of draws alone goes wrong at small k."""
    worst = []
    for seed in range(12):
        study = Study(n=(512,), sigma=("4",), k=("4",), draws=4, rows=3, seed=seed, epsilon=(0.5,))
        path = write_selectors(tmp_path / f"{seed}.h5", study, ["random"])
        with open_results(path) as results:
            case = next(c for c in results.cases if c.selector == "random")
            worst.append(float(np.abs(share_deviations(case)).max()))
    assert max(worst) <= FAR
    assert sum(z > NEAR for z in worst) <= 1


def test_a_claim_of_a_user_about_a_selector(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[claim]]\nid = "U"\nsentence = "x"\nquantity = "tail_mass"\nsense = "at least"\nexponent = "-C"\n'
        'selectors = ["window"]\n',
        encoding="utf-8",
    )
    with open_results(files[0]) as results:
        (judgement,) = judge(group_series(results.cases), read_claims(path))
    assert {f.regime for f in judgement.findings} == {"σ = 1, window", "σ = 3, window"}


def test_validate_looks_at_selectors(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["validate", str(copied)]) == 0
    assert f"not compared: {6 * len(SELECTORS)} cases, its keys are not those of exact top-k" in capsys.readouterr().out
    where = case_named(copied, "window")
    with changing(copied) as file:
        group = file["cases"][where]
        group["recall"][...] = group["recall"][...] + 1.0
        group["kept"][0, 0, 0] = 2000
    assert command_line.main(["validate", str(copied)]) == 1
    printed = capsys.readouterr().out
    assert f"case {where}: 0 <= recall <= 1" in printed
    assert f"case {where}: kept: below 1, over row_n or falling with k" in printed


def test_advise_selectors(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_file = tmp_path / "a.json"
    arguments = ["advise", str(files[0]), "--selectors", "--lengths", "128,1024", "--json", str(record_file)]
    assert command_line.main([*arguments, "--sigma", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^3 +0\.5 +quantised:int4 ", printed, re.MULTILINE)
    assert "other:r=3" in printed.splitlines()[-1]
    records = json.loads(record_file.read_text(encoding="utf-8"))
    assert {r["epsilon"] for r in records} == {0.5, 0.2}
    for epsilon in (0.5, 0.2):
        found = [r for r in records if r["epsilon"] == epsilon]
        assert [r["best"] for r in found] == [True] + [False] * (len(found) - 1)
        spent = [sum(r["bytes_read"]) for r in found]
        assert spent == sorted(spent)
    assert command_line.main([*arguments[:-2], "--epsilon", "0.3"]) == 0
    assert re.search(r"^1 +0\.3 ", capsys.readouterr().out, re.MULTILINE)


def test_a_rule_counts_with_the_keys_that_it_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its keys are the mean of `kept`, where its mean tail mass is small enough; there are no k_epsilon."""
    name = "threshold:theta=1e-3:by=int4"
    study = Study(n=(256, 1024), sigma=("2",), k=("16", "n^0.5"), draws=3, epsilon=(0.2, 0.1))
    path = write_selectors(tmp_path / "r.h5", study, (name, "window"))
    kept, tail = {256: (20, 0.05), 1024: (60, 0.15)}, {}
    with changing(path) as file:
        for group in file["cases"].values():
            if group.attrs.get("selector") == name:
                keys, tail_mass = kept[int(group.attrs["n"])]
                group["kept"][...] = keys + np.arange(group["kept"].shape[1])[:, None]
                group["tail_mass"][...] = tail_mass
                del group["k_epsilon"]
                tail[int(group.attrs["n"])] = keys + (group["kept"].shape[1] - 1) / 2
    with open_results(path) as results:
        (series,) = (one for one in group_series(results.cases) if one.selector == name)
        need = need_of(series, 0.2)
        assert need is not None
        assert need.by_rule
        assert {point.n: point.mean for point in need.points} == tail
        assert need.budgets([256, 1024]) == [math.ceil(tail[n]) for n in (256, 1024)]
        few = need_of(series, 0.1)
        assert few is not None
        assert [point.n for point in few.points] == [256]
        (group,) = selector_groups(group_series(results.cases))
        at_first, at_second = what_to_use([group])
    assert f": {name} reads least, " in at_first
    assert f" for {math.ceil(tail[1024])} keys, the mean of what its rule keeps (like n^" in at_first
    assert name not in at_second
    assert command_line.main(["advise", str(path), "--selectors", "--epsilon", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        rf"^2 +0\.2 +{name} +its rule .* {','.join(str(math.ceil(k)) for _, k in sorted(tail.items()))} ", printed, re.M
    )
    assert "keys are means over rows" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--selectors", "--epsilon", "2"], "--epsilon is '2', allowed is a list of numbers between 0 and 1"),
        (["--selectors", "--cost", "k"], "--cost goes with --budget"),
        (["--selectors", "--norm", "tail_mass,row_l2_error"], "allowed is one without --budget"),
        (["--selectors", "--norm", "output_error_relative"], "the file has no output_error_relative"),
        (["--budget", "16", "--epsilon", "0.1"], "--epsilon does not go with --budget"),
        (["--selectors", "--lengths", "2^20"], "length 1048576 is outside the measured n, 2^6 to 2^10"),
    ],
)
def test_bad_options_of_advise(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert command_line.main(["advise", str(files[0]), *words]) == 2
    assert message in capsys.readouterr().err


def test_advise_without_selectors(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["advise", str(files[1]), "--selectors"]) == 2
    assert "no VALID case of another selector" in capsys.readouterr().err
