"""The scaling report: tables of efficiency, model and projection, and the page that holds them with the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from ..figures import scaling as figure_scaling
from ..figures.drawing import RenderedFigure, render_plots
from ..figures.scaling import NOT_MEASURED, Family
from ..fits.scaling_model import ASSUMED_BANDWIDTH, ASSUMED_LATENCY, Network, fit, hold_out, observations, projected
from ..io.bench_reader import BenchResults, ScalingStudy
from .page import Numbered, figures_section, page
from .templates import badge, prose, render

_NUMBERS = {
    "p", "n", "median s", "speed-up", "efficiency", "imbalance", "cores' fma", "memory read", "compute s", "serial s",
    "latency s", "bandwidth s", "total s", "of ideal", "predicted s", "measured s", "error", "ns per product",
    "serial ms", "μs per message", "GB/s",
}  # fmt: skip

Table = tuple[tuple[str, ...], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Target:
    """What is projected to."""

    n: float = 1e9
    ranks: int = 1000
    network: Network = field(default_factory=Network)


def families_of(studies: Sequence[ScalingStudy]) -> list[Family]:
    groups: dict[tuple, list[ScalingStudy]] = {}
    for s in studies:
        groups.setdefault((s.kernel, s.path, s.d, s.m, s.k_law, s.keys, s.threads, s.merge), []).append(s)
    families = []
    for members in groups.values():
        measured = observations(members)
        model = fit(measured) if measured else None
        families.append(Family(tuple(members), model, tuple(hold_out(measured))))
    return families


def render_figures(studies: Sequence[ScalingStudy], target: Target, folder: Path | None) -> tuple[RenderedFigure, ...]:
    families = families_of(studies)
    measured = (figure_scaling.speed_up, figure_scaling.efficiency, figure_scaling.phases)
    builders = [partial(build, studies) for build in measured]
    builders.append(partial(figure_scaling.model, families))
    builders.append(partial(figure_scaling.projection, families, target.n, target.ranks, target.network))
    return render_plots(builders, folder)


def efficiency_table(studies: Sequence[ScalingStudy]) -> Table:
    """The cores' own scaling stands beside: what p of them do at once of p times what one does alone."""
    headings = (
        "study", "scaling", "p", "n", "median s", "speed-up", "efficiency", "imbalance", "cores' fma", "memory read",
        "verdict",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for s in studies:
        for i, p in enumerate(s.ranks):
            rows.append(
                (
                    s.title,
                    s.scaling,
                    f"{p}",
                    f"{s.n[i]}",
                    f"{s.median_seconds[i]:.4g}",
                    f"{s.speed_up[i]:.3f}",
                    f"{100 * s.efficiency[i]:.1f}%",
                    f"{100 * s.load_imbalance[i]:.1f}%",
                    f"{100 * s.fma_gflops[i] / (p * s.fma_gflops[0]):.1f}%",
                    f"{100 * s.read_bandwidth[i] / (p * s.read_bandwidth[0]):.1f}%",
                    "VALID" if s.valid else "INVALID",
                )
            )
    return headings, rows


def model_table(families: Sequence[Family]) -> Table:
    headings = ("kernel", "ns per product", "serial ms", "μs per message", "GB/s", "not determined by these counts")
    rows: list[tuple[str, ...]] = []
    for f in families:
        if f.model is None:
            rows.append((f.title, "–", "–", "–", "–", "no VALID study"))
            continue
        m = f.model
        message = "–" if "messages" in m.open_terms else f"{1e6 * m.per_message:.3g}"
        bandwidth = "–" if "bytes" in m.open_terms or m.per_byte == 0 else f"{1e-9 / m.per_byte:.3g}"
        open_terms = ", ".join(m.open_terms) or "none"
        rows.append((f.title, f"{1e9 * m.compute:.4g}", f"{1e3 * m.serial:.3g}", message, bandwidth, open_terms))
    return headings, rows


def held_out_table(families: Sequence[Family]) -> Table:
    headings = ("kernel", "n", "p", "fitted on p", "predicted s", "measured s", "error")
    rows: list[tuple[str, ...]] = [
        (
            f.title,
            f"{h.observation.work.n:.0f}",
            f"{h.observation.work.ranks}",
            ", ".join(str(p) for p in h.trained_on),
            f"{h.predicted:.4g}",
            f"{h.observation.seconds:.4g}",
            f"{100 * h.error:+.1f}%",
        )
        for f in families
        for h in f.held_out
    ]
    return headings, rows


def projection_table(families: Sequence[Family], target: Target) -> Table:
    headings = ("kernel", "kind", "p", "n", "compute s", "serial s", "latency s", "bandwidth s", "total s", "of ideal")
    rows = []
    for f in families:
        if f.projected is None:
            continue
        one = sum(projected(f.first, f.projected, target.n, 1, target.network).values())
        parts = projected(f.first, f.projected, target.n, target.ranks, target.network)
        total = sum(parts.values())
        numbers = [f"{value:.3g}" for value in (*parts.values(), total)]
        ideal = f"{100 * one / (target.ranks * total):.1f}%"
        rows.append((f.title, NOT_MEASURED, f"{target.ranks}", f"{target.n:.3g}", *numbers, ideal))
    return headings, rows


def of_one_count(families: Sequence[Family]) -> str:
    """Which kernels are not projected, and what to do; empty where there are none."""
    kernels = [f.title for f in families if f.model is not None and f.projected is None]
    if not kernels:
        return ""
    how = "run bench --scaling on several ranks (mpirun -n 2, or --rank-counts)"
    return f"No projection of {'; '.join(kernels)}: measured on one count of ranks; {how}."


def assumptions(families: Sequence[Family], target: Target) -> list[str]:
    """What the projection takes for granted, in words."""
    most = max((int(s.ranks[-1]) for f in families for s in f.studies), default=1)
    merges = sorted({s.merge for f in families for s in f.studies if s.merge})
    network = target.network
    cost = "a message costs what it cost in this run"
    if network.latency is not None or network.bandwidth is not None:
        latency = "as in this run" if network.latency is None else f"{1e6 * network.latency:g} μs a message"
        bandwidth = "as in this run" if network.bandwidth is None else f"{1e-9 * network.bandwidth:g} GB/s"
        cost = f"messages cost what was given for them: latency {latency}, bandwidth {bandwidth}"
    found = [
        f"Every rank computes as fast as the model's fit to 1 to {most} ranks says, with a core, caches and a share "
        "of memory bandwidth for itself, and all ranks get the same share of the keys.",
        f"On the network {cost}. In a run on one host that is memory shared by its ranks; a network between hosts is "
        "slower in latency and differs in bandwidth, and nobody else uses it.",
        f"Rows are merged as on most ranks here ({', '.join(merges) or 'sums alone'}), with messages and bytes "
        "as counted for that strategy; another may be cheaper on many ranks.",
        "Serial work is what was measured: it is taken not to grow with n or p. Where k grows with n, this is too "
        "little.",
        "No rank is slow, none fails, and starting the job is not counted.",
    ]
    missing = {name for f in families if f.projected is not None for name in f.projected.open_terms}
    if "messages" in missing and network.latency is None:
        found.append(
            "The counts of ranks measured do not tell what a message costs from what its bytes cost; "
            f"{1e6 * ASSUMED_LATENCY:g} μs a message is assumed where that is so."
        )
    if "bytes" in missing and network.bandwidth is None:
        found.append(
            f"Nor do they tell a bandwidth for all kernels; {1e-9 * ASSUMED_BANDWIDTH:g} GB/s is assumed there."
        )
    if "serial compute" in missing:
        found.append(
            "Serial work outside the merge was not to be told from shared work everywhere; there it counts as shared."
        )
    return found


def print_tables(tables: Sequence[Table], stream: TextIO) -> None:
    for headings, rows in tables:
        if not rows:
            continue
        widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
        for row in [headings, *rows]:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
        print(file=stream)


def _html(found: Table) -> tuple[tuple[str, ...], list[list[str]], set[str]]:
    """What the table's template takes."""
    headings, rows = found
    return headings, [[badge(c) if c in ("VALID", "INVALID") else prose(c) for c in row] for row in rows], _NUMBERS


def _how_measured(one: BenchResults) -> tuple[tuple[str, object], ...]:
    facts = one.provenance
    return (
        ("Asymptop", f"{facts['version']}, git {facts['git_hash']}"),
        ("Date (UTC)", facts["date_utc"]),
        ("Processor", facts["cpu"]),
        ("Ranks", f"{facts['ranks']} ranks with {facts['threads_per_rank']} threads on {facts['host_names']}"),
        ("Compiler", f"{facts['compiler']}, {facts['build_type']}: {facts['compile_options']}"),
        ("MPI", facts["mpi_version"]),
    )


def build_scaling_report(results: Sequence[BenchResults], target: Target, figures: Sequence[RenderedFigure]) -> str:
    studies = [s for one in results for s in one.studies]
    families = families_of(studies)
    names = ", ".join(one.path.name for one in results)
    body = render(
        "scaling",
        in_order=[s.id for s in studies if not s.interleaved],
        efficiency=_html(efficiency_table(studies)),
        figures=figures_section(Numbered.of(figures, 1, between=0)),
        model=_html(model_table(families)),
        held_out=_html(held_out_table(families)),
        projection=_html(projection_table(families, target)),
        assumptions=assumptions(families, target),
        not_projected=of_one_count(families),
        measured=[(one.path.name, _how_measured(one), one.provenance) for one in results],
    )
    return page(names, (render("heading", title="How the kernels scale over ranks", name=names), body))
