"""Figures that other processors draw: the same as those drawn here, and nothing that goes wrong there is lost."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from asymptop.figures import drawing
from asymptop.figures.drawing import draw_plots, render_plots
from asymptop.figures.plot_data import Plot
from asymptop.figures.style import title_lines
from matplotlib import pyplot as plt


def _plot(name: str) -> Plot:
    canvas, axes = plt.subplots(layout="constrained")
    axes.plot([1, 2, 3], [3, 1, len(name)])
    axes.set_title(name)
    return Plot(name, f"title of {name}", "caption", canvas, ("x",), [(1,)])


def test_drawn_aside_as_drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_AT_ONCE", 2)
    builders = [partial(_plot, f"figure-{i}") for i in range(5)]
    rendered, written = [], []
    earlier = plt.get_fignums()  # of other tests of this process
    for processors in (1, 2):
        monkeypatch.setattr(drawing, "_processors", lambda count=processors: count)
        folder = tmp_path / str(processors)
        rendered.append(render_plots([*builders[:2], lambda: None, *builders[2:]], folder))
        written.append({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".pdf"})
        assert plt.get_fignums() == earlier
    assert rendered[0] == rendered[1]
    assert [one.name for one in rendered[1]] == [f"figure-{i}" for i in range(len(builders))]
    assert written[0] == written[1]
    assert len(written[1]) == 2 * len(builders)


@pytest.mark.parametrize("processors", [1, 2])
def test_an_error_of_a_drawing_is_raised(processors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_processors", lambda: processors)
    (tmp_path / "broken.png").mkdir()
    with pytest.raises(OSError, match="broken"):
        render_plots([partial(_plot, "whole"), partial(_plot, "broken")], tmp_path)


def test_a_process_that_is_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_processors", lambda: 2)
    monkeypatch.setattr(drawing, "lay_out", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    begun = draw_plots([partial(_plot, "lost")], None)
    with pytest.raises(RuntimeError, match="drew lost ended with -9"):
        begun.figures()


def test_long_titles_are_broken_at_commas() -> None:
    """Names of files stand above panels that are narrower: titles lay over each other."""
    assert title_lines("model.h5, 6 heads") == ["model.h5, 6 heads"]
    assert title_lines("tensors-2-8-2-11-places-4-layers-all.h5, window = 512, 60 heads") == [
        "tensors-2-8-2-11…4-layers-all.h5,",
        "window = 512, 60 heads",
    ]
    # Not within a formula, whose markup takes no room.
    for title in (r"σ = $4 + 2.5\,\sqrt{\log n}$, uniform", r"σ = $\min(n, 3333333333333, 33333333333)$"):
        assert title_lines(title) == [title]
