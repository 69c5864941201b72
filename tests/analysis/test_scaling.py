"""Scaling studies: the model recovers what was planted, says what it cannot know, and predicts what it has not seen."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from asymptop import __main__ as command_line
from asymptop.fits.scaling_model import ModelError, Network, fit, hold_out, observations, projected, traffic, work_of
from asymptop.io.bench_reader import read_bench
from asymptop.io.reader import ResultsError
from make_bench import BenchFile, Scaling, write_bench

COMPUTE, SERIAL_COMPUTE, SERIAL_MERGE, PER_BYTE, PER_MESSAGE = 2e-12, 3e-3, 1e-3, 1e-9, 5e-6
FIGURES = {"scaling_speed_up", "scaling_efficiency", "scaling_phases", "scaling_model", "scaling_projection"}


def planted(study: Scaling) -> Scaling:
    """The study with times of the model itself."""

    def times(ranks: int, n: int) -> tuple[float, float]:
        messages, sent = traffic(study.kernel, study.merge, ranks, n, study.m, study.d, study.k)
        busy = COMPUTE * n * study.m * study.d / ranks + SERIAL_COMPUTE
        return busy, SERIAL_MERGE + PER_BYTE * sent + PER_MESSAGE * messages

    return replace(study, times=times)


def studies_of(folder: Path, *studies: Scaling, seed: int = 1) -> list:
    return list(read_bench(write_bench(folder / "bench.h5", BenchFile(studies, seed=seed))).studies)


CASES = [(kernel, "owner") for kernel in ("top-k", "profile", "exact-attention", "top-k-attention")]
CASES += [("top-k", merge) for merge in ("root", "tree", "threshold")]


@pytest.mark.parametrize(("kernel", "merge"), CASES)
def test_model_recovers_what_was_planted(kernel: str, merge: str, tmp_path: Path) -> None:
    study = planted(Scaling(kernel, merge=merge, ranks=(1, 2, 4, 8, 16), imbalance=0.03))
    measured = observations(studies_of(tmp_path, study))
    model = fit(measured)
    assert model.open_terms == ()
    assert model.compute == pytest.approx(COMPUTE, rel=1e-6)
    assert model.serial_compute == pytest.approx(SERIAL_COMPUTE, rel=1e-6)
    assert model.serial_merge == pytest.approx(SERIAL_MERGE, rel=1e-6)
    assert model.per_byte == pytest.approx(PER_BYTE, rel=1e-6)
    assert model.per_message == pytest.approx(PER_MESSAGE, rel=1e-6)
    (held,) = hold_out(measured)
    assert (held.observation.work.ranks, held.trained_on) == (16, (1, 2, 4, 8))
    assert held.error == pytest.approx(0.0, abs=1e-6)


def test_noise_moves_the_fit_by_its_own_size(tmp_path: Path) -> None:
    errors = []
    for seed in range(20):
        study = planted(Scaling(ranks=(1, 2, 4, 8, 16, 32), noise=0.01, samples=15))
        measured = observations(studies_of(tmp_path, study, seed=seed))
        assert fit(measured).compute == pytest.approx(COMPUTE, rel=0.03)
        errors += [h.error for h in hold_out(measured)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.05


def test_a_cost_that_the_model_lacks_shows_in_the_held_out_error(tmp_path: Path) -> None:
    """Compute that slows down on the last count alone, as when cores share a bandwidth."""

    def times(ranks: int, n: int) -> tuple[float, float]:
        return 1e-7 * n / ranks * (1.3 if ranks == 8 else 1.0), 1e-4

    (held,) = hold_out(observations(studies_of(tmp_path, Scaling(ranks=(1, 2, 4, 8), times=times))))
    assert held.error == pytest.approx(1 / 1.3 - 1, abs=0.01)


def test_what_the_counts_do_not_determine_is_named(tmp_path: Path) -> None:
    one = fit(observations(studies_of(tmp_path, planted(Scaling(ranks=(1,))))))
    assert set(one.open_terms) == {"serial compute", "bytes", "messages"}
    assert one.per_byte == one.per_message == 0.0
    two = fit(observations(studies_of(tmp_path, planted(Scaling(ranks=(1, 2))))))
    assert set(two.open_terms) == {"messages"}
    assert two.compute == pytest.approx(COMPUTE, rel=1e-6)
    weak = fit(observations(studies_of(tmp_path, planted(Scaling(scaling="weak", ranks=(1, 2, 4, 8))))))
    assert set(weak.open_terms) == {"serial compute"}, "n / p is the same everywhere"
    assert hold_out(observations(studies_of(tmp_path, Scaling(ranks=(1,))))) == []


def test_strong_and_weak_studies_are_fitted_together(tmp_path: Path) -> None:
    pair = [planted(Scaling(scaling=s, ranks=(1, 2, 4))) for s in ("strong", "weak")]
    model = fit(observations(studies_of(tmp_path, *pair)))
    assert model.open_terms == ()
    assert model.serial_compute == pytest.approx(SERIAL_COMPUTE, rel=1e-6)


def test_coefficients_are_never_negative(tmp_path: Path) -> None:
    study = Scaling(ranks=(1, 2, 4), times=lambda ranks, n: (1e-9 * n / ranks**1.3, 1e-3 / ranks))
    model = fit(observations(studies_of(tmp_path, study)))
    assert min(model.compute, model.serial, model.per_byte, model.per_message) >= 0.0


def test_invalid_studies_enter_no_fit(tmp_path: Path) -> None:
    found = studies_of(tmp_path, Scaling(valid=False))
    assert observations(found) == []
    with pytest.raises(ModelError):
        fit([])


def test_traffic() -> None:
    assert traffic("top-k", "owner", 1, 1e6, 256, 64, 1024) == (0.0, 0.0)
    assert traffic("score", "", 8, 1e6, 256, 64, 0) == (0.0, 0.0)
    assert traffic("top-k", "owner", 2, 1e6, 256, 64, 1024) == (1.0, 256 * 8 * 1025 / 2)
    assert traffic("top-k", "owner", 1000, 1e5, 256, 64, 1024)[1] < 8 * 256 * 102, "a list is no longer than its shard"
    # Of two ranks that swap halves of the rows, owner and tree are the same exchange.
    assert traffic("top-k", "tree", 2, 1e6, 256, 64, 1024) == traffic("top-k", "owner", 2, 1e6, 256, 64, 1024)
    sent = {
        merge: traffic("top-k", merge, 8, 1e6, 256, 64, 1024)[1] for merge in ("root", "owner", "tree", "threshold")
    }
    assert sent["threshold"] < sent["owner"] < sent["tree"] < sent["root"]
    # At most 1.5 k candidates of 8 bytes a row in all, and the samples.
    assert 8 * sent["threshold"] < 256 * 8 * (1.5 * 1024 + 7 * 20)
    for kernel in ("profile", "exact-attention", "top-k-attention"):
        assert traffic(kernel, "owner", 4, 1e6, 256, 64, 1024)[0] > 0


def test_projection_adds_up_and_takes_a_network(tmp_path: Path) -> None:
    (study,) = studies_of(tmp_path, planted(Scaling(ranks=(1, 2, 4, 8), k_law="n^0.5")))
    model = fit(observations([study]))
    parts = projected(study, model, 1e9, 1000, Network())
    work = work_of(study, 1000, 1e9, 1e9**0.5)
    assert sum(parts.values()) == pytest.approx(model.seconds(work))
    assert parts["compute"] == pytest.approx(COMPUTE * 1e9 * 256 * 64 / 1000, rel=1e-6)
    given = projected(study, model, 1e9, 1000, Network(latency=2e-6, bandwidth=1e10))
    assert given["latency"] == pytest.approx(2e-6 * work.messages)
    assert given["bandwidth"] == pytest.approx(work.bytes / 1e10)
    assert given["compute"] == parts["compute"]


def _strong_and_weak(path: Path) -> Path:
    kernels = (("top-k", "screened"), ("exact-attention", "fused"))
    kinds = ("strong", "weak")
    studies = [planted(Scaling(k, p, scaling=s, noise=0.01, ranks=(1, 2, 4))) for k, p in kernels for s in kinds]
    return write_bench(path, BenchFile([*studies, Scaling("score", valid=False, interleaved=False)]))


def test_one_count_of_ranks_projects_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bench(tmp_path / "bench.h5", BenchFile([planted(Scaling(ranks=(1,)))]))
    assert command_line.main(["scaling", str(path), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "projection, not measured" not in printed
    assert "measured on one count of ranks; run bench --scaling on several ranks" in printed
    page = (tmp_path / "out" / "scaling.html").read_text(encoding="utf-8")
    assert "measured on one count of ranks" in page
    assert "It assumes" not in page
    assert not (tmp_path / "out" / "scaling_projection.csv").exists()


def test_command_writes_page_figures_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _strong_and_weak(tmp_path / "bench.h5")
    assert command_line.main(["scaling", str(path), "-o", str(tmp_path / "out")]) == 0
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert files == {f"{name}.{end}" for name in FIGURES for end in ("png", "pdf", "csv")} | {"scaling.html"}
    printed = capsys.readouterr().out
    for text in ("efficiency", "strong", "weak", "projection, not measured", "1000", "error", "INVALID"):
        assert text in printed
    page = (tmp_path / "out" / "scaling.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == len(FIGURES)
    for text in ("Projection, not measured", "A processor &amp; more", "&lt;bench&gt;.h5", "took turns", "score-fused"):
        assert text in page
    assert not re.search(r"<(script|link|iframe|object)\b|@import|url\(", page)
    with open(tmp_path / "out" / "scaling_efficiency.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {r["panel"] for r in rows} == {"strong", "weak"}
    assert {r["value"] for r in rows if r["ranks"] == "1"} == {"100.0"}
    # As src/README.md has it.
    table = pandas.read_csv(tmp_path / "out" / "scaling_efficiency.csv")
    wide = table.pivot_table("value", "ranks", ["panel", "line"])
    assert list(wide.index) == [1, 2, 4]
    assert set(wide.columns.get_level_values("panel")) == {"strong", "weak"}
    assert (wide.loc[1] == 100.0).all()
    for name in FIGURES:
        whole = pandas.read_csv(tmp_path / "out" / f"{name}.csv")
        assert whole["ranks"].dtype.kind == "i"
        assert len(whole.select_dtypes("number").columns) > 2
    with open(tmp_path / "out" / "scaling_projection.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {r["kind"] for r in rows} == {"projection, not measured"}
    assert "1000" in {r["ranks"] for r in rows}


def test_report_knows_benchmarks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bench(tmp_path / "bench.h5")
    page, figures = tmp_path / "report.html", tmp_path / "figures"
    assert command_line.main(["report", str(path), "-o", str(page), "--figures", str(figures)]) == 0
    assert "How the kernels scale over ranks" in page.read_text(encoding="utf-8")
    assert (figures / "scaling_speed_up.png").is_file()
    assert "speed-up" in capsys.readouterr().out


def _no_scaling(file: h5py.File) -> None:
    del file["scaling"]


def _newer(file: h5py.File) -> None:
    file.attrs["schema_version"] = 2


def _other_kind(file: h5py.File) -> None:
    file.attrs["kind"] = "study"


def _one_case_less(file: h5py.File) -> None:
    del file["cases"][next(name for name in file["cases"] if name.endswith("ranks2"))]


def _not_from_one(file: h5py.File) -> None:
    group = next(iter(file["scaling"].values()))
    group["ranks"][0] = 3


def _no_time(file: h5py.File) -> None:
    group = next(iter(file["scaling"].values()))
    group["seconds"][1, 0] = 0.0


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_no_scaling, "no scaling studies"),
        (_newer, "schema_version is 2"),
        (_other_kind, "kind is 'study'"),
        (_one_case_less, "ranks2 is missing"),
        (_not_from_one, "does not ascend from 1"),
        (_no_time, "must be positive"),
    ],
)
def test_damaged_files_are_refused(
    damage: Callable[[h5py.File], None], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bench(tmp_path / "bench.h5")
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(ResultsError, match=re.escape(named)):
        read_bench(path)
    assert command_line.main(["scaling", str(path), "-o", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(path) in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--project-ranks", "0"),
        ("--project-ranks", "2.5"),
        ("--project-n", "many"),
        ("--latency", "-1"),
        ("--bandwidth", "0"),
    ],
)
def test_bad_options(option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bench(tmp_path / "bench.h5")
    assert command_line.main(["scaling", str(path), f"{option}={value}", "-o", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert option in message
    assert f"'{value}'" in message
    assert not (tmp_path / "out").exists()
