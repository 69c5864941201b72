"""What running a model needs beside this package: PyTorch and transformers, for GGUF more."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from ..tensors.mapped import TensorError

GGUF_SUFFIX = ".gguf"
MODELS = ("torch", "transformers")
GGUF = (*MODELS, "gguf", "accelerate")
# They are the extra `models` of this package, which is on no index: where its source lies is for the user to say.
INSTALL = "pip install './analysis[models]' in Asymptop's source"


def require_for(model: Path) -> None:
    """What this model needs is there, and so is the model. Raises TensorError, in one line."""
    gguf = model.suffix == GGUF_SUFFIX
    if not (model.is_file() if gguf else model.is_dir()):
        words = "no such file" if gguf else "no such folder"
        raise TensorError(f"{model}: {words}; allowed are a folder with config.json, weights and tokeniser, and a GGUF")
    if not gguf and not (model / "config.json").is_file():
        held = sorted(entry.name for entry in model.glob(f"*{GGUF_SUFFIX}"))
        advice = f"; name the file itself: {model / held[0]}" if held else ""
        raise TensorError(f"{model}: has no config.json{advice}")
    require(GGUF if gguf else MODELS)


def require(names: Sequence[str]) -> None:
    """Imports them. Raises TensorError, in one line, where one cannot be."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched: a model is a folder or a file
    os.environ["TQDM_DISABLE"] = "1"  # bars of a reader of GGUF
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            why = " ".join(str(error).split())
            raise TensorError(f"running this model needs {name}, which cannot be imported ({why}): {INSTALL}") from None


def available_memory(root: Path = Path("/")) -> float | None:
    """Bytes that new allocations of this process may take: the kernel's estimate, and what its control groups leave.
    None where nothing says so."""
    found = [1024.0 * kib for kib in _beside(root / "proc/meminfo", "MemAvailable:")]
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    for group in (root / "sys/fs/cgroup" / name for name in named[:1]):
        for place in (group, *group.parents):
            if (place / "memory.max").is_file():
                taken = _numbers(place / "memory.current") or [0.0]
                droppable = _beside(place / "memory.stat", "inactive_file") or [0.0]
                found += [most - taken[0] + droppable[0] for most in _numbers(place / "memory.max")]
    return max(0.0, min(found)) if found else None


def _numbers(path: Path) -> list[float]:
    """`max` is none."""
    try:
        return [float(word) for word in path.read_text(encoding="utf-8").split() if word.isdecimal()]
    except OSError:
        return []


def _beside(path: Path, word: str) -> list[float]:
    """The number beside a word that begins a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [float(line.split()[1]) for line in lines if line.split()[:1] == [word]]
