"""The figures of a report, in order, each with its caption and the numbers that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..io.series import Series, group_panels
from . import entries, errors, needed_keys, phase
from . import simulated as simulated_figures
from .drawing import Drawing, RenderedFigure, draw_plots

BUILDERS = (
    needed_keys.needed_keys_against_n,
    phase.phase_diagram,
    errors.tail_mass_against_n,
    errors.row_error_against_n,
    errors.largest_error_against_n,
    errors.output_error_against_n,
    entries.k_epsilon_against_n,
    needed_keys.needed_keys_by_norm,
    errors.tail_mass_against_k,
    errors.row_error_against_k,
    entries.effective_entries_against_n,
    entries.share_below_against_n,
)


def draw(series: Sequence[Series], folder: Path | None = None, simulated: Sequence[Series] = ()) -> Drawing:
    """Build every figure that the data allow and start to draw it; with a folder, PNG, PDF and the data as CSV are
    written there too.

    simulated: rows without keys, to be drawn beside the measured ones.
    """
    panels = group_panels(series)
    plots = [partial(build, panels) for build in BUILDERS]
    if simulated:
        plots += [partial(build, panels, group_panels(simulated)) for build in simulated_figures.BUILDERS]
    return draw_plots(plots, folder) if panels else Drawing(folder)


def render(
    series: Sequence[Series], folder: Path | None = None, simulated: Sequence[Series] = ()
) -> tuple[RenderedFigure, ...]:
    """draw, all drawn."""
    return draw(series, folder, simulated).figures()
