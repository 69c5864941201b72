"""The report holds every section, opens offline, escapes the file's text, and exports its figures and data."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.claims.registry import CLAIMS
from asymptop.commands import report as report_command
from asymptop.criteria.replicates import INDEPENDENT, PLACES, SAME_TEXTS
from asymptop.figures import captions, style
from asymptop.fits.quantities import TAIL_MASS
from asymptop.io.reader import open_results
from asymptop.io.series import group_series
from asymptop.report.inputs import judge_inputs, primary
from asymptop.report.sections import checks_section, provenance_section, summary_section
from asymptop.report.summary import summary
from asymptop.report.templates import prose, render
from asymptop.theory.sizes import count_words
from case_files import changing
from make_results import Study, write_results
from matplotlib import pyplot as plt
from matplotlib.mathtext import MathTextParser

FIGURES = {
    "needed_keys_against_n", "needed_keys_by_norm",
    "tail_mass_against_n", "row_l2_error_against_n", "row_linf_error_against_n", "k_epsilon_against_n",
    "tail_mass_against_k", "row_l2_error_against_k", "effective_entries_against_n", "share_below_against_n",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(text of the report, folder of the figures)."""
    folder = tmp_path_factory.mktemp("report")
    study = Study(
        n=(256, 1024, 4096), sigma=("1", "2*sqrt(log(n))"), k=("16", "n^0.5"), draws=4, invalid_n=(1024,),
        root={"host_names": "<script>alert(1)</script>", "config_text": "sigma = 1 & 2 https://example.org"},
    )  # fmt: skip
    path = write_results(folder / "results.h5", study)
    arguments = ["report", str(path), "-o", str(folder / "report.html"), "--figures", str(folder / "figures")]
    assert command_line.main(arguments) == 0
    return (folder / "report.html").read_text(encoding="utf-8"), folder / "figures"


class _Balance(HTMLParser):
    """Every element that needs an end tag has one, in order; ids are unique."""

    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id" and value in self.ids:
                self.faults.append(f"id {value} twice")
            if name == "id":
                self.ids.add(value)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def balance(text: str) -> list[str]:
    parser = _Balance()
    parser.feed(text)
    return parser.faults + parser.open


def test_the_page_is_well_formed(made: tuple[str, Path]) -> None:
    assert balance(made[0]) == []
    assert balance("<p><b>x</p></b>")  # the check itself
    assert "NaN" not in made[0].replace("nan", "NaN").split("<h2")[1]


def test_claims_by_input(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    """Two inputs in one file: a column each, and the verdicts are those of Gaussian keys."""
    draw_only("tail_mass_against_n")
    study = Study(n=(256, 1024, 4096), sigma=("1", "2"), k=("n^0.5",), draws=4, row_sigma="fixed")
    path = write_results(tmp_path / "results.h5", study)
    with h5py.File(path, "r+") as file:
        for group in file["cases"].values():
            if group.attrs["sigma_law"] in ("2", b"2"):
                group.attrs["input"] = "student:3"
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "report.html")]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert balance(text) == []
    section = text.split('id="inputs"')[1].split("<h2")[0]
    assert re.search(r"<th *>gaussian</th><th *>student:3</th>", section)
    assert section.count("<tr>") == len(CLAIMS) + 1
    with open_results(path) as results:
        series = group_series(results.cases)
        assert [s.title for s in series] == ["σ = 1", "σ = 2, student:3"]
        assert [s.first.input for s in primary(series)] == ["gaussian"]
        columns = judge_inputs(series, CLAIMS)
    assert [c.name for c in columns] == ["gaussian", "student:3"]
    tails = [{f.regime for f in j.findings} for c in columns for j in c.judgements if j.claim.id == "A-tv"]
    assert tails == [{"σ = 1"}, {"σ = 2, student:3"}]


def test_sections(made: tuple[str, Path]) -> None:
    text, _ = made
    for heading in (
        "Verdicts",
        "How many keys are needed",
        "What to use in practice",
        "Claims and verdicts",
        "Figures",
        "Fitted exponents and local slopes",
        "Self-checks",
        "How this was measured",
    ):
        assert f">{heading}</h2>" in text
    for anchor in re.findall(r'href="#([\w-]+)"', text):
        assert f'id="{anchor}"' in text
    for claim in ("A-tv", "A-l2", "A-linf", "A-fro", "D-keps", "D-iden"):
        assert f">{claim}" in text
    for fact in ("0123abc-dirty", "g++ 12.2.0", "OpenBLAS 0.3.21", "231.5 GFLOP/s", "2026-01-01T00:00:00Z"):
        assert fact in text
    assert text.count("<figcaption>") == len(FIGURES)


def test_gpu_memory(made: tuple[str, Path], tmp_path: Path) -> None:
    assert "GPU memory" not in made[0]
    path = write_results(tmp_path / "results.h5", Study(n=(256, 1024), draws=2))
    with h5py.File(path, "r+") as file:
        for peak, case in enumerate(file["cases"].values(), 1):
            case.attrs.update(device_peak_bytes=peak * 10**9, device_planned_bytes=5 * 10**9)
    count = len(open_results(path).cases)
    assert f"at most {count} GB of a rank&#39;s GPU held, 5 GB planned" in provenance_section(open_results(path))


@pytest.mark.parametrize("contexts", ["prefix", "places", "starts", None])
def test_the_head_says_what_draws_are(contexts: str | None, tmp_path: Path) -> None:
    """Those of prefixes are rows of the same text, and no replicates of it; made inputs have no contexts."""
    study = Study(n=(256,), draws=3) if contexts is None else Study(n=(256,), heads=1, input="q.h5", draws=3)
    path = write_results(tmp_path / "r.h5", study)
    with changing(path) as file:
        for case in file["cases"].values() if contexts not in (None, "prefix") else ():
            case.attrs["contexts"] = contexts
    over_rows = "errors and intervals are over rows of it, not over texts"
    with open_results(path) as results:
        lines = group_series(results.cases)
        head, how = summary_section(results, lines), provenance_section(results)
        (told, *_) = summary(results, (), lines, ()).split(" 1. ")
    told = " ".join(told.split())
    for text in (head, told):
        assert ("--contexts" in text) == (contexts is not None)
        assert f"(--contexts {contexts})" in text or contexts is None
        assert (over_rows in text) == (contexts == "prefix")
    assert ("3 independent draws each" in head) == (contexts is None)
    for kind, words in ((None, INDEPENDENT), ("starts", SAME_TEXTS), ("places", PLACES), ("prefix", over_rows)):
        assert (words in how) == (kind == contexts)


def test_the_head_says_where_targets_were_missed(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=(256, 1024, 4096), draws=3))
    ends = {256: "", 1024: "--max-time was over", 4096: "with all 3 draws"}
    with changing(path) as file:
        for case in file["cases"].values():
            ended = ends[case.attrs["n"]]
            case.attrs.update(target_se=0.01, target_missed="p_max 3%" if ended else "", target_ended=ended)
    words = "--target-se 1% was not met in 2 of 3 cases: in 1 --max-time was over; in 1 with all 3 draws."
    with open_results(path) as results:
        lines = group_series(results.cases)
        assert words in summary_section(results, lines)
        assert words in " ".join(summary(results, (), lines, ()).split())
    with changing(path) as file:  # as earlier versions wrote it
        for case in file["cases"].values():
            del case.attrs["target_ended"]
    with open_results(path) as results:
        assert "--target-se 1% was not met in 2 of 3 cases." in summary_section(results, lines)


def test_counts_are_printed_whole(tmp_path: Path) -> None:
    """Residuals of checks that count, among those that do not; budgets of keys; sizes on an axis."""
    path = write_results(tmp_path / "r.h5", Study(n=(256,), draws=2, invalid_n=(256,)))
    with open_results(path) as results:
        case = results.cases[0]
        residual = np.where(case.check_residual > case.check_tolerance, 4352.0, case.check_residual)
        text = str(checks_section([replace(case, check_residual=residual)]))
    assert "<td>4352</td>" in re.sub(r"<td [^>]*>", "<td>", text)
    assert "e+03" not in text
    assert [count_words(value) for value in (1234567.0, 0.25, -0.0, 1e300)] == ["1234567", "0.25", "0", "1e+300"]


def test_every_self_check_is_explained() -> None:
    header = (Path(__file__).resolve().parents[2] / "src/row/case_data.hpp").read_text()
    listed = re.search(r"check_names = \{(.*?)\};", header, re.DOTALL)
    assert listed is not None
    assert list(captions.CHECKS) == re.findall(r'"(\w+)"', listed[1])
    assert set(captions.CHECKS_OF_SIMULATED) < set(captions.CHECKS)


def test_seconds_of_shared_passes_count_once(tmp_path: Path) -> None:
    """Laws of sigma of one n are measured together, and each says how long they all took."""
    path = write_results(tmp_path / "r.h5", Study(n=(256, 512), sigma=("1", "2"), draws=2))
    with changing(path) as file:
        for case in file["cases"].values():
            case.attrs["seconds_total"] = 1.5 if case.attrs["n"] == 256 else 2.75
    with open_results(path) as results:
        text = str(provenance_section(results))
    assert "4.25 s" in text
    assert re.search(r"\b1 ranks\b|\b1 threads\b", text) is None


def test_invalid_cases_are_shown(made: tuple[str, Path]) -> None:
    text, _ = made
    assert "keys_seen: 17 keys missing" in text
    assert "2 of the cases failed a self-check" in text
    assert "Crosses are INVALID cases" in text


def test_nothing_external(made: tuple[str, Path]) -> None:
    text, _ = made
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(s.startswith(("data:image/svg+xml;base64,", "#")) for s in sources)
    assert not re.search(r"<(script|link|iframe|object)\b|@import|url\(", text)
    for image in re.findall(r"base64,([^\"]+)", text):
        svg = base64.b64decode(image).decode("utf-8")
        assert not re.search(r'(?:xlink:href|src)="(?!#|data:)', svg)
        assert "<text" not in svg, "letters are drawn, so that no font is needed"


def test_text_of_the_file_is_escaped(made: tuple[str, Path]) -> None:
    text, _ = made
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;results&gt;.h5" in text
    assert "sigma = 1 &amp; 2" in text


def test_figures_and_their_data(made: tuple[str, Path]) -> None:
    _, folder = made
    assert {p.name for p in folder.iterdir()} == {f"{name}.{end}" for name in FIGURES for end in ("png", "pdf", "csv")}
    with open(folder / "tail_mass_against_n.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["line"] for row in rows} == {"16", "n^0.5"}
    assert {float(row["x"]) for row in rows} == {256.0, 4096.0}
    for row in rows:
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])
        assert 0 < float(row["expected"]) <= 1


def test_a_laid_out_figure_is_drawn_once_per_file() -> None:
    """It keeps its places without the engine, which would lay it out, and draw it, again for every format."""
    with plt.rc_context(style.STYLE):
        figure, (place,) = style.panel_grid(1)
        place.set_title("a title")
        before = place.get_position().bounds
        style.lay_out(figure)
        assert figure.get_layout_engine() is None
        laid_out = place.get_position().bounds
        assert laid_out != before
        drawn = []
        figure.canvas.mpl_connect("draw_event", drawn.append)
        figure.savefig(io.BytesIO(), format="png")
        assert len(drawn) == 1
        assert place.get_position().bounds == laid_out
        plt.close(figure)


def test_a_formula_is_set_once_for_all_panels() -> None:
    style.keep_formulas()
    parser = MathTextParser("path")
    formulas = [f"$2^{{{power}}}$" for power in range(200)]
    first, again = ([parser.parse(text) for text in formulas] for _ in range(2))
    assert all(a is b for a, b in zip(first, again, strict=True))


def test_table_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str], draw_only: Callable[..., None]) -> None:
    draw_only("output_error_against_n")
    path = write_results(tmp_path / "heads.h5", Study(n=(256,), heads=3, input="q.h5", draws=1, output_errors=True))
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "report.html"), "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["claim", "regime"]
    assert any(line.startswith("NOT TESTED: A-tv, ") and line.endswith("not constant.") for line in lines)
    assert any("q.h5, head 2" in line for line in lines)
    assert "Relative output error against n" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_file_of_attend_goes_beside_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(tmp_path / "attend.h5", Study(n=(256,), root={"kind": "attend"}))
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "report.html")]) == 2
    message = capsys.readouterr().err
    assert "report STUDY --attend FILE" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_all_invalid_still_reports(tmp_path: Path) -> None:
    path = write_results(tmp_path / "bad.h5", Study(n=(256, 512), invalid_n=(256, 512)))
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "report.html")]) == 0
    assert "No VALID case to draw" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_output_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_results(tmp_path / "results.h5", Study(n=(256,)))
    monkeypatch.setattr(report_command, "draw", lambda *_: pytest.fail("said before the figures are drawn"))
    with pytest.raises(SystemExit) as left:
        command_line.main(["report", str(path), "-o", str(tmp_path / "absent" / "report.html")])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_first_page_comes_first(made: tuple[str, Path]) -> None:
    text, _ = made
    places = [text.index(f'id="{name}"') for name in ("keys", "verdicts", "practice", "claims", "figures", "fits")]
    assert places == sorted(places)
    findings = text[text.index("<ol class='lead'>") : text.index("</nav>")]
    assert "Keys that a row needs for a tail mass of" in findings
    assert re.search(r"Claims: \d+ supported", findings)
    assert [int(number) for number in re.findall(r"<b>Figure (\d+)\.", text)] == list(
        range(1, text.count("<b>Figure ") + 1)
    )
    front = text[places[1] : places[2]]
    assert front.count("<tr>") == len(CLAIMS) + 2  # and two headings: what cannot be tested is folded away
    assert front.index("claims that this file cannot test") < front.index('href="#claim-E-table"')
    for claim in CLAIMS:
        assert f'href="#claim-{claim.id}"' in front
        assert prose(claim.sentence) in front
    assert re.search(r'<span class="verdict [A-Z]+" title="[A-Z ]+: \d+ of \d+ tests">', front)
    # Laws for a fixed sigma, and those that were measured here.
    practice = text[places[2] : places[3]]
    assert "2·√(log n)" in practice or "2*sqrt(log(n))" in practice
    assert "so that σ = " in practice


def test_extra_p(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    """Read back as Extra-P does: points, then a data line per point for every metric of every region."""
    draw_only()
    study = Study(n=(256, 1024, 4096), sigma=("1", "2"), k=("n^0.5", "64", "4096"), draws=3)
    path = write_results(tmp_path / "r.h5", study)
    target = tmp_path / "extra_p.txt"
    arguments = ["report", str(path), "-o", str(tmp_path / "report.html"), "--extra-p", str(target)]
    assert command_line.main(arguments) == 0
    regions: dict[str, dict[str, list[list[float]]]] = {}
    region, metric, points = "", "", []
    for line in target.read_text(encoding="utf-8").splitlines():
        field, _, value = line.partition(" ")
        if field == "POINTS":
            points = [float(n) for n in value.split()]
        elif field == "REGION":
            region = value
        elif field == "METRIC":
            metric = value
        elif field == "DATA":
            regions.setdefault(region, {}).setdefault(metric, []).append([float(v) for v in value.split()])
        else:
            assert field in ("#", "PARAMETER")
    assert points == [256.0, 1024.0, 4096.0]
    assert set(regions) == {"sigma=1", "sigma=2"}
    with open_results(path) as results:
        case = next(c for c in results.cases if c.n == 1024 and c.sigma == 2.0)
        assert regions["sigma=2"]["tail_mass k=n^0.5"][1] == TAIL_MASS.draw_values(case, 32).tolist()
    for metrics in regions.values():
        assert all(len(rows) == 3 and {len(row) for row in rows} == {3} for rows in metrics.values())
        assert "tail_mass k=4096" not in metrics  # the error is 0 at n = 4096


def test_templates_escape_what_they_are_given() -> None:
    page = render("heading", title="<b>", name='a & "b"')
    assert "<b>" not in page
    assert "a &amp; &#34;b&#34;" in page
    assert render("jobs", tables=[(("<i>",), [["<u>"]])]).count("&lt;") == 2
    assert prose("n^2 < <b>") == "n<sup>2</sup> &lt; &lt;b&gt;"
