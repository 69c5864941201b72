"""Built figures become SVG, and files on request.

Placing and writing takes a third of a report's time and needs nothing but the built figure. So other processors do it
where there are any, while this process builds the next figures and judges the claims.
"""

from __future__ import annotations

import csv
import gc
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Canvas

from .plot_data import Plot
from .style import STYLE, keep_formulas, lay_out

# Figures that are drawn aside at one time, at least: each holds what drawing it takes of memory.
_AT_ONCE = 8
# This process, which more waits for, goes first.
_NICENESS = 5


@dataclass(frozen=True)
class RenderedFigure:
    name: str
    title: str
    caption: str
    svg: str
    width: float  # inches


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


def _drawn(plot: Plot, folder: Path | None) -> RenderedFigure:
    lay_out(plot.canvas)
    if folder is not None:
        _write_files(plot, folder)
    return RenderedFigure(plot.name, plot.title, plot.caption, _svg(plot.canvas), plot.canvas.get_figwidth())


def _processors() -> int:
    """How many this process may use; 1 elsewhere than on Linux, where libraries may not survive a fork."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _send(sender: Connection, plot: Plot, folder: Path | None) -> None:
    os.nice(_NICENESS)
    gc.disable()  # nothing outlives the one figure, and a collection would copy every object of the parent's
    try:
        sender.send(_drawn(plot, folder))
    except Exception as error:  # raised again where the figure is waited for
        sender.send(error)


class _Aside:
    """A figure that a forked process draws: it has the built figure without a copy, and reads no file."""

    def __init__(self, plot: Plot, folder: Path | None) -> None:
        context = multiprocessing.get_context("fork")
        self.receiver, sender = context.Pipe(duplex=False)
        self._name = plot.name
        self._process = context.Process(target=_send, args=(sender, plot, folder), daemon=True)
        self._process.start()
        sender.close()
        self._found: RenderedFigure | Exception | None = None

    def receive(self) -> None:
        try:
            self._found = self.receiver.recv()
        except EOFError:
            self._process.join()
            self._found = RuntimeError(f"the process that drew {self._name} ended with {self._process.exitcode}")
        self._process.join()
        self.receiver.close()

    @property
    def received(self) -> bool:
        return self._found is not None

    def figure(self) -> RenderedFigure:
        if self._found is None:
            self.receive()
        if not isinstance(self._found, RenderedFigure):
            raise self._found or RuntimeError(self._name)
        return self._found


class Drawing:
    """Figures in their order, some of which are still being drawn."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._figures: list[RenderedFigure | _Aside] = []
        self._processors = _processors()

    def add(self, plot: Plot) -> None:
        if self._processors == 1:
            self._figures.append(_drawn(plot, self._folder))
            return
        running = [one for one in self._figures if isinstance(one, _Aside) and not one.received]
        if len(running) >= max(_AT_ONCE, self._processors):
            ready = wait([one.receiver for one in running])
            for one in running:
                if one.receiver in ready:
                    one.receive()
        self._figures.append(_Aside(plot, self._folder))

    def figures(self) -> tuple[RenderedFigure, ...]:
        """Waits for those that are not drawn yet."""
        return tuple(one.figure() if isinstance(one, _Aside) else one for one in self._figures)


def draw_plots(builders: Iterable[Callable[[], Plot | None]], folder: Path | None) -> Drawing:
    """Builds one figure after the other, a builder without data giving None; with a folder, PNG, PDF and data as CSV
    are written there too."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    keep_formulas()
    drawing = Drawing(folder)
    with plt.rc_context(STYLE):
        for build in builders:
            plot = build()
            if plot is not None:
                drawing.add(plot)
                plt.close(plot.canvas)
    return drawing


def render_plots(builders: Iterable[Callable[[], Plot | None]], folder: Path | None) -> tuple[RenderedFigure, ...]:
    """draw_plots, all drawn."""
    return draw_plots(builders, folder).figures()
