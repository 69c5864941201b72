"""The figures of a report, in order, each with its caption and the numbers that it shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Canvas

from ..io.series import Series, group_panels
from . import entries, errors, needed_keys, phase
from . import simulated as simulated_figures
from .plot_data import Plot
from .style import STYLE, keep_formulas, lay_out


@dataclass(frozen=True)
class RenderedFigure:
    name: str
    title: str
    caption: str
    svg: str
    width: float  # inches


BUILDERS = (
    needed_keys.needed_keys_against_n,
    phase.phase_diagram,
    errors.tail_mass_against_n,
    errors.row_l2_error_against_n,
    errors.row_linf_error_against_n,
    errors.output_error_against_n,
    entries.k_epsilon_against_n,
    needed_keys.needed_keys_by_norm,
    errors.tail_mass_against_k,
    errors.row_l2_error_against_k,
    entries.effective_entries_against_n,
    entries.share_below_against_n,
)


def _svg(canvas: Canvas) -> str:
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _write_files(plot: Plot, folder: Path) -> None:
    for ending in ("png", "pdf"):
        plot.canvas.savefig(folder / f"{plot.name}.{ending}", dpi=200)
    with open(folder / f"{plot.name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(plot.columns)
        writer.writerows(plot.records)


def render(
    series: Sequence[Series], folder: Path | None = None, simulated: Sequence[Series] = ()
) -> tuple[RenderedFigure, ...]:
    """Draw every figure that the data allow; with a folder, write PNG, PDF and the data as CSV there too.

    simulated: rows without keys, to be drawn beside the measured ones.
    """
    panels = group_panels(series)
    plots = [partial(build, panels) for build in BUILDERS]
    if simulated:
        plots += [partial(build, panels, group_panels(simulated)) for build in simulated_figures.BUILDERS]
    return render_plots(plots, folder) if panels else ()


def render_plots(builders: Sequence[Callable[[], Plot | None]], folder: Path | None) -> tuple[RenderedFigure, ...]:
    """One after the other; a builder without data gives None."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    keep_formulas()
    rendered = []
    with plt.rc_context(STYLE):
        for build in builders:
            plot = build()
            if plot is None:
                continue
            lay_out(plot.canvas)
            if folder is not None:
                _write_files(plot, folder)
            rendered.append(
                RenderedFigure(plot.name, plot.title, plot.caption, _svg(plot.canvas), plot.canvas.get_figwidth())
            )
            plt.close(plot.canvas)
    return tuple(rendered)
