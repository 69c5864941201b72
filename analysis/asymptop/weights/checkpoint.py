"""A checkpoint as it lies in its files: tensors by name, each with its values or the reason why it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .model_config import ModelConfig


@dataclass(frozen=True)
class Tensor:
    """A tensor by name. `fault` says why it cannot be used: its type, or what happened to its values."""

    name: str
    shape: tuple[int, ...]
    fault: str
    path: Path
    read: Callable[[], NDArray[np.float64]] = lambda: np.empty(0)
    kind: str = ""
    turned: str = ""  # whose habit it is to store axes in reverse, where that was undone

    @property
    def label(self) -> str:
        return f"{self.path}:{self.name}"


@dataclass
class Checkpoint:
    """All tensors by name, where they come from, and what there is to say about them."""

    tensors: dict[str, Tensor]
    folder: Path
    notes: list[str] = field(default_factory=list)
    missing_shards: str = ""
    config: ModelConfig | None = None  # where the files themselves hold it

    def usable(self, name: str) -> bool:
        return name in self.tensors and not self.tensors[name].fault

    def say_once(self, what: str, example: str = "") -> None:
        """Adds a note, unless one of that beginning is there."""
        if not any(note.startswith(what) for note in self.notes):
            self.notes.append(what + example)
