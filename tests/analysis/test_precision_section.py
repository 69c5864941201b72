"""The report's section on arithmetic, from files with planted errors: reader, what is called off, sentences, the page.

tests/app/test_precision.py has the page of a measured file.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.fits.precision_errors import EFFECTIVE_ENTRIES, SUM_P, TAIL_MASS, off, off_from
from asymptop.io.precision_file import read_precision
from asymptop.io.reader import ResultsError, open_results
from asymptop.io.schema import ROOT_TEXT
from asymptop.io.series import group_series
from asymptop.report.page import Numbered, Section, build_report
from asymptop.report.precision import findings
from make_results import Study, write_results

SIZES = (256, 1024, 4096)
SETS = (("fp64", "pairwise"), ("bf16", "sequential"), ("bf16", "pairwise"), ("fp8", "sequential"))
DRAWS, ROWS = 3, 2


def write_precision(path: Path) -> Path:
    """bf16 one after another: sum p is n / 200. fp8: at the largest n all p are 0. The rest is right."""
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = 1
        for name in ROOT_TEXT:
            file.attrs[name] = "x"
        file.attrs["kind"] = "precision"
        for name in ("ranks", "threads_per_rank", "seed", "block"):
            file.attrs[name] = 1
        for n in SIZES:
            group = file.create_group(f"cases/n{n}-sigma1")
            facts = {"id": f"n{n}-sigma1", "n": n, "sigma_law": "1", "draws": DRAWS, "rows": ROWS}
            for name, value in {**facts, "verdict": "VALID", "verdict_reason": ""}.items():
                group.attrs[name] = value
            columns = {"precision": [s[0] for s in SETS], "order": [s[1] for s in SETS], "k_law": ["16"]}
            for name, values in columns.items():
                group.create_dataset(name, data=values, dtype=text)
            group["k"], group["k_of_law"] = [16], [16]
            ones = np.ones((DRAWS, ROWS, len(SETS)))
            sum_p, zeros, entropy = ones.copy(), 0 * ones, ones * np.log(n / 2)
            sum_p[..., 1] = n / 200
            entropy[..., 3] += np.log(0.5)
            tail = 0.25 * ones[..., None]
            if n == SIZES[-1]:
                sum_p[..., 3], zeros[..., 3], entropy[..., 3], tail[..., 3, :] = 0.0, n, 0.0, 1.0
            data = {"sum_p": sum_p, "sum_p_in_format": ones, "entropy_nats": entropy, "zeros": zeros, "tail_mass": tail}
            for name, values in {**data, "participation_ratio": ones, "missed_mass": 0 * tail}.items():
                group[name] = values
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_precision(tmp_path_factory.mktemp("precision") / "precision.h5")


def test_what_is_off_and_from_where(file: Path) -> None:
    cases = read_precision(file).by_law["1"]
    assert [case.n for case in cases] == list(SIZES)
    assert off(cases[0], 1, SUM_P, "16").factor == pytest.approx(0.28)
    assert off(cases[2], 1, SUM_P, "16").factor == pytest.approx(4096 / 200 - 1)
    assert off(cases[0], 3, EFFECTIVE_ENTRIES, "16").factor == pytest.approx(1.0)
    assert np.isinf(off(cases[2], 3, EFFECTIVE_ENTRIES, "16").factor)
    assert np.isinf(off(cases[2], 3, TAIL_MASS, "16").factor)  # not a tail mass of 1 that is off by 4
    assert off_from(cases, 1, SUM_P, "16") == 256
    assert off_from(cases, 3, TAIL_MASS, "16") == 4096
    assert off_from(cases, 2, SUM_P, "16") is None


def test_sentences(file: Path) -> None:
    ((law, sentences),) = findings(read_precision(file))
    assert law == "σ = 1"
    text = "\n".join(sentences)
    assert "bf16 summed one after another: Σp = 20.48 at n = 2^12, over 5% off from n = 2^8 on" in text
    assert "it reads 1 (so the kernel's own check does not notice); in pairs it is 1." in text
    assert "fp8 summed one after another: every p is rounded to 0 at n = 2^12" in text
    assert "tail mass (mean over rows): bf16 summed in pairs." in text
    assert "grows by a factor of 16 in fp64, but by 0 in fp8 summed one after another" in text


def test_what_is_printed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first three sentences, and where the page is."""
    assert command_line.main(["report", str(file), "-o", str(tmp_path / "report.html")]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == f"3 cases, all VALID: n = 2^8 to 2^12, {DRAWS} draws."
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert lines[-1] == f"report: {tmp_path / 'report.html'}"
    ((law, sentences),) = findings(read_precision(file))
    words = " ".join(printed.split())
    assert f"1. {law}: {sentences[0]} 2. {sentences[1][:60]}" in words
    assert f"3. {sentences[2][:60]}" in words
    assert "4. " not in words


def test_section_of_a_report(tmp_path: Path) -> None:
    study = write_results(tmp_path / "study.h5", Study(n=(64, 128), sigma=("1",), draws=4, rows=2))
    with open_results(study) as results:
        more = (Section("precision", "Precision of arithmetic", '<h2 id="precision">P</h2>'),)
        text = build_report(results, group_series(results.cases), (), Numbered(), more=more)
    assert '<a href="#precision">Precision of arithmetic</a>' in text
    assert text.index('<h2 id="figures">') < text.index('<h2 id="precision">') < text.index('<h2 id="fits">')


def test_refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_results(tmp_path / "study.h5", Study(n=(64,), sigma=("1",), draws=2, rows=2))
    with pytest.raises(ResultsError, match="kind is 'study', expected 'precision'"):
        read_precision(study)
    bad = write_precision(tmp_path / "bad.h5")
    with h5py.File(bad, "r+") as broken:
        del broken["cases/n256-sigma1/tail_mass"]
    with pytest.raises(ResultsError, match="n256-sigma1: dataset 'tail_mass' is missing"):
        read_precision(bad)
    assert command_line.main(["report", str(bad), "-o", str(tmp_path / "report.html")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
