"""Heads of a model: what each needs, the maps of them, the claims of measured rows, and advice for them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.claims.registry import MEASURED_CLAIMS, judge
from asymptop.criteria.heads import epsilons_of, finding_words, heads_of
from asymptop.criteria.verdicts import Verdict
from asymptop.io.reader import open_results
from asymptop.io.series import exact_series, group_panels, group_series
from asymptop.report.heads import heads_section
from case_files import changing
from make_results import Study, row_metrics, write_results

STUDY = Study(
    n=(64, 256, 1024),
    k=("16", "n^0.75"),
    draws=6,
    rows=4,
    epsilon=(0.3, 0.1),
    input="model.h5",
    mask="causal",
    heads=3,
    layers=(2, 7),
    first_keys_mass=0.25,
    output_errors=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("model") / "model-results.h5", STUDY)


def test_layers_are_lines_of_their_own(model: Path) -> None:
    with open_results(model) as results:
        lines = group_series(results.cases)
        assert [(s.first.layer, s.first.head) for s in lines] == [(x, h) for x in (2, 7) for h in range(3)]
        assert [s.title for s in lines][3:4] == ["model.h5, layer 7, head 0"]
        assert [len(s.cases) for s in lines] == [3] * 6
        panels = group_panels(lines)
        assert [len(panel.members) for panel in panels] == [6]
        assert panels[0].title == "model.h5, 6 heads"


def test_needs_are_those_of_the_rows(model: Path) -> None:
    """Keys for epsilon against the rows themselves: a budget of that many keys leaves the mean tail mass at epsilon."""
    with open_results(model) as results:
        lines = group_series(results.cases)
        assert epsilons_of(lines) == (0.3, 0.1)
        heads = heads_of(lines, 0.3)
        assert [(one.layer, one.head) for one in heads] == [(x, h) for x in (2, 7) for h in range(3)]
        for one in heads:
            case = one.last
            assert np.array_equal(np.sort(one.row_keys), np.sort(case.values("k_epsilon")[:, :, 0].ravel()))
            assert one.sink == 0.25
            tails = case.values("tail_mass").mean(axis=(0, 1))
            below, above = (float(np.interp(np.log(one.keys * x), np.log(case.k), tails)) for x in (1.1, 0.9))
            assert below < 0.3 < above
            assert one.output_error is not None
            k, error = one.output_error
            assert k >= one.keys
            assert k == case.k[np.searchsorted(case.k, one.keys)]
            at = list(case.k).index(k)
            assert error == np.median(case.values("output_error_relative")[:, :, at])


def test_a_larger_sigma_needs_fewer_keys(model: Path) -> None:
    with open_results(model) as results:
        heads = heads_of(group_series(results.cases), 0.1)
        keys = [one.keys for one in heads]  # sigma grows along them
        assert keys == sorted(keys, reverse=True)
        assert all(0.5 < one.exponent < 1.1 for one in heads)


def test_page_opens_with_heads(
    model: Path, tmp_path: Path, draw_only: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    draw_only("k_epsilon_against_n")
    arguments = [
        "report",
        "--table",
        str(model),
        "-o",
        str(tmp_path / "report.html"),
        "--figures",
        str(tmp_path / "figures"),
    ]
    assert command_line.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "NOT TESTED: A-tv" in printed
    assert re.search(r"^M-suffices +CONTRADICTED", printed, re.MULTILINE)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.index("How many keys each head needs</h2>") < text.index("Verdicts</h2>")
    assert "claims that this file cannot test" in text
    assert "model.h5, layer 2, head 0; layer 2, head 1; " in text
    assert "Measured here" not in text  # laws of k are those of the section on heads
    assert text.count("A mean tail mass of 0.3 at n = 2<sup>10</sup> takes ") == 1
    assert text.count("The keys needed grow like n<sup>C</sup>") == 2  # of each tail mass
    assert "Figure 1. Layers x heads" in text
    assert "Figure 2." in text
    assert text.index("Figure 1.") < text.index("Figure 2.")
    with open(tmp_path / "figures" / "heads.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["layer"]), int(row["head"])) for row in rows] == [(x, h) for x in (2, 7) for h in range(3)]
    with open_results(model) as results:
        for row, one in zip(rows, heads_of(group_series(results.cases), 0.3), strict=True):
            assert float(row["keys"]) == one.keys
            assert float(row["share"]) == one.keys / 1024  # rows see all keys
            assert float(row["sigma"]) == one.last.sigma
            assert float(row["sink"]) == 0.25


@pytest.mark.parametrize("contexts", ["places", "starts"])
def test_a_sink_that_only_the_longest_contexts_hold(contexts: str, model: Path, tmp_path: Path) -> None:
    """Growth over such contexts is not a model's, and the findings say so; a sink at every n is no matter."""
    path = tmp_path / "late.h5"
    path.write_bytes(model.read_bytes())
    with changing(path) as file:
        for group in list(file["cases"].values()):
            group.attrs["contexts"] = contexts
            if group.attrs["n"] < 1024 and group.attrs["layer"] == 7:
                group["first_keys_mass"][()] = 0.02
    with open_results(path) as results:
        words = finding_words(heads_of(group_series(results.cases), 0.3))
    told = [sentence for sentence in words if "Only the longest contexts" in sentence]
    assert len(told) == (1 if contexts == "places" else 0)
    if told:
        assert "in 3 heads the first keys weigh 0.25 there and 0.02 at the n before" in told[0]


def test_rows_without_their_first_keys_stand_aside(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "dropped.h5"
    path.write_bytes(model.read_bytes())
    with changing(path) as file:
        for group in list(file["cases"].values()):
            if group.attrs["layer"] == 7:
                group.attrs["layer"], group.attrs["drop_first"] = 2, 4
    with open_results(path) as results:
        lines = group_series(results.cases)
        assert len(lines) == 6
        assert lines[-1].title.endswith(", first keys left out = 4")
        assert "left out" not in lines[0].title
        assert [one.head for one in heads_of(lines, 0.3)] == [0, 1, 2]


def test_no_section_without_tensors(tmp_path: Path) -> None:
    path = write_results(tmp_path / "made.h5", Study(n=(64, 256), draws=3))
    with open_results(path) as results:
        assert heads_section(exact_series(group_series(results.cases)), ()) == ()


def test_claims_of_measured_rows(tmp_path: Path) -> None:
    """Rows at constant sigma need a share of the keys; the claims say that they need fewer as n grows."""
    path = write_results(tmp_path / "constant.h5", STUDY)
    with open_results(path) as results:
        found = {j.claim.id: j for j in judge(group_series(results.cases), MEASURED_CLAIMS)}
    assert found["M-root"].verdict is Verdict.CONTRADICTED
    assert found["M-collapse"].verdict is Verdict.CONTRADICTED
    assert len(found["M-collapse"].findings) == 6
    assert all(f.phase == "measured" for j in found.values() for f in j.findings)


def test_claims_hold_where_few_keys_carry_rows(tmp_path: Path) -> None:
    """Logits of which sixteen are far above all others, whatever n is: no law of k leaves much."""

    def planted(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return 0.5 * n**-0.6 * np.exp(0.02 * generator.standard_normal(shape)) * (k < n)

    study = Study(n=(64, 256, 1024, 4096), input="m.h5", heads=1, layers=(0,), mask="causal", planted=planted)
    path = write_results(tmp_path / "few.h5", study)
    with open_results(path) as results:
        found = {j.claim.id: j for j in judge(group_series(results.cases), MEASURED_CLAIMS)}
    assert found["M-suffices"].verdict is Verdict.SUPPORTED


def test_advice_is_a_budget_per_head(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "advice.json"
    assert (
        command_line.main(["advise", str(model), "--epsilon", "0.1", "--lengths", "256,1024", "--json", str(out)]) == 0
    )
    printed = capsys.readouterr().out
    assert printed.startswith("model.h5:\nkeys needed at n = 2^8, 2^10 so that")
    assert re.search(r"^layer 7, head 2 +0\.1 ", printed, re.MULTILINE)
    records = json.loads(out.read_text(encoding="utf-8"))
    assert [(r["layer"], r["head"]) for r in records] == [(x, h) for x in (2, 7) for h in range(3)]
    for record in records:
        assert record["k"] == [int(np.ceil(record["alpha"] * n ** record["C"] - 1e-9)) for n in (256, 1024)]
    assert (
        f"tail mass 0.1 in all 6 of them: {','.join(str(max(r['needed'][at] for r in records)) for at in (0, 1))} keys"
        in printed
    )


def test_advice_says_what_intervals_of_prefixes_are_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prefixes.h5"
    path.write_bytes(model.read_bytes())
    assert command_line.main(["advise", str(path), "--epsilon", "0.1"]) == 0
    assert "prefixes are" not in capsys.readouterr().out
    with changing(path) as file:
        for group in file["cases"].values():
            del group.attrs["contexts"]
    assert command_line.main(["advise", str(path), "--epsilon", "0.1"]) == 0
    assert "Draws of prefixes are disjoint rows of the same text: " in capsys.readouterr().out.splitlines()[-1]


def test_advice_and_report_say_the_same(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, exponents and the law of the head that needs most, of a file's own lengths."""
    out = tmp_path / "advice.json"
    assert command_line.main(["advise", str(model), "--epsilon", "0.1", "--json", str(out)]) == 0
    capsys.readouterr()
    records = json.loads(out.read_text(encoding="utf-8"))
    with open_results(model) as results:
        heads = heads_of(group_series(results.cases), 0.1)
        for record, one in zip(records, heads, strict=True):
            assert record["needed"][-1] == one.whole_keys
            assert record["C"] == round(one.exponent, 3)
            assert all(k >= needed for k, needed in zip(record["k"], record["needed"], strict=True))
        most = max(records, key=lambda record: record["needed"][-1])
        words = finding_words(heads)
    assert f"k = {most['alpha']:g}·n^{most['C']:g} is enough for the head that needs most at n = 2^6 to 2^10." in words
    assert f" to {most['needed'][-1]:,} (layer {most['layer']} head {most['head']})." in words[0]


@pytest.fixture(scope="module")
def windowed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layer 2 has a window of 100 keys: its numbers at n = 64 are all of them."""
    path = tmp_path_factory.mktemp("windowed") / "model-results.h5"
    path.write_bytes(model.read_bytes())
    with changing(path) as file:
        for group in file["cases"].values():
            if group.attrs["layer"] != 2:
                continue
            group.attrs["window"] = 100
            for name in ("k_epsilon", "row_n"):
                group[name][...] = np.minimum(group[name][()], 100)
    return path


def test_advice_speaks_of_the_keys_that_a_head_sees(
    windowed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "advice.json", ["advise", str(windowed), "--epsilon", "0.1"]
    assert command_line.main([*words, "--lengths", "256,1024", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    records = {(r["layer"], r["head"]): r for r in json.loads(out.read_text(encoding="utf-8"))}
    for (layer, head), record in records.items():
        seen = [100, 100] if layer == 2 else [256, 1024]
        assert record["keys_seen"] == seen
        assert all(k <= of for k, of in zip(record["k"], seen, strict=True))
        name = f"layer {layer}, head {head}" + (", window = 100" if layer == 2 else "")
        line = next(line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert f"  {'100' if layer == 2 else 'all'} keys " in line
        if layer == 2:
            assert int(line.split("  0.1 ")[1].split(",")[0]) <= 100
        shares = (f"{100.0 * k / of:.1f}%" for k, of in zip(record["needed"], seen, strict=True))
        assert f"  {', '.join(shares)}  " in line
    assert "tail mass 0.1 in all 3 of them that see 100 keys: " in printed
    assert "tail mass 0.1 in all 3 of them that see all keys: " in printed
    assert command_line.main([*words, "--lengths", "64", "--json", str(out)]) == 0
    assert "100 keys" not in capsys.readouterr().out
    # Below the window's size a head needs what it needs there, whatever other lengths are asked for.
    alone = {(r["layer"], r["head"]): r["k"][0] for r in json.loads(out.read_text(encoding="utf-8"))}
    assert command_line.main([*words, "--lengths", "64,1024", "--json", str(out)]) == 0
    assert "as listed" in capsys.readouterr().out
    for r in json.loads(out.read_text(encoding="utf-8")):
        if r["layer"] == 2:
            assert r["k"][0] == alone[2, r["head"]]


def test_advice_says_what_is_left_out(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "partly.h5"
    path.write_bytes(model.read_bytes())
    with changing(path) as file:
        next(iter(file["cases"].values())).attrs["verdict"] = "INVALID"
    assert command_line.main(["advise", str(path), "--epsilon", "0.1"]) == 0
    assert capsys.readouterr().err == "asymptop advise: 1 INVALID case left out\n"


def test_laws_of_n_are_none_of_windows(windowed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["advise", str(windowed), "--budget", "4", "--norm", "tail_mass"]) == 0
    printed = capsys.readouterr().out
    assert "layer 7, head 0" in printed
    assert "layer 2" not in printed
    assert "Left out: 3 heads with a window shorter than the lengths" in printed
    path = tmp_path / "all.h5"
    path.write_bytes(windowed.read_bytes())
    with changing(path) as file:
        for group in file["cases"].values():
            group.attrs["window"] = 100
    assert command_line.main(["advise", str(path), "--budget", "4"]) == 2
    assert "all heads of the file have windows shorter than the lengths" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lengths", "2048"], r"length 2048 is outside the measured n, 2\^6 to 2\^10"),
        (["--cost", "k"], "--cost goes with --budget"),
        (["--norm", "tail_mass,row_l2_error"], "allowed is one without --budget"),
        (["--epsilon", "2"], "--epsilon is '2', allowed is a list of numbers between 0 and 1"),
        (["--budget", "4", "--epsilon", "0.1"], "--epsilon does not go with --budget"),
    ],
)
def test_bad_advice_is_one_line(
    model: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["advise", str(model), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1


def test_reference_rows_are_rows() -> None:
    """The maker's own numbers: what is left behind the k best keys of a row."""
    logits = np.log(np.array([[4.0, 3.0, 2.0, 1.0]]))
    found = row_metrics(logits, np.array([1, 2]), (0.35, 0.1), np.array([0.2]))
    assert np.allclose(found["tail_mass"], [[0.6, 0.3]])
    assert found["k_epsilon"].tolist() == [[2, 3]]
