"""Layers of a capture as files of their own beside the output, until all are there and make one file.

Each is written under another name, closed, synced, checked and renamed: what bears a layer's name is whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py

from ..tensors.layered_file import layer_names, write_root, write_text
from ..tensors.mapped import TensorError
from ..tensors.study_input import TensorFile, sync
from .texts import Context

_NAME = re.compile(r"text(\d+)-layer(\d+)\.h5")
_LAYER = "layer"
_IDENTITY = "capture"


@dataclass(frozen=True)
class Parts:
    """`identity` is that of texts.identity: layers of another capture are not taken."""

    output: Path
    identity: str

    @property
    def folder(self) -> Path:
        return self.output.with_name(self.output.name + ".parts")

    def path(self, text: int, layer: int) -> Path:
        return self.folder / f"text{text}-layer{layer}.h5"

    def _files(self) -> list[Path]:
        """Whole layers and half ones, and nothing else that may lie there."""
        if not self.folder.is_dir():
            return []
        names = (path for path in self.folder.iterdir() if path.is_file())
        return sorted(path for path in names if _NAME.fullmatch(path.name) or _is_half(path.name))

    def begin(self, resume: bool, force: bool) -> None:
        """Raises TensorError where layers of an earlier capture lie there and nothing says what to do with them."""
        files = self._files()
        whole = [path for path in files if _NAME.fullmatch(path.name)]
        if whole and not (resume or force):
            raise TensorError(
                f"{self.folder}: holds layers of an earlier capture; --resume keeps them, --force does not"
            )
        for path in files:
            if not resume or path not in whole:
                path.unlink()
            elif self._identity_of(path) != self.identity:
                words = "is of another model, text, length, type or place"
                raise TensorError(f"--resume: {path} {words}; --force begins anew")
        self.folder.mkdir(exist_ok=True)

    def whole(self, text: int, layer: int) -> bool:
        return self.path(text, layer).exists()

    def finished(self, layers: Iterable[int], texts: int) -> bool:
        """The output itself is of this capture, and has these layers and no others."""
        if self._identity_of(self.output) != self.identity:
            return False
        with h5py.File(self.output, "r") as file:
            return layer_names(file) == [f"text{text}/layer{layer}" for text in range(texts) for layer in layers]

    def _identity_of(self, path: Path) -> str:
        try:
            with h5py.File(path, "r") as file:
                return str(file.attrs.get(_IDENTITY, ""))
        except OSError:
            return ""

    def add(
        self, text: int, layer: int, write: Callable[[h5py.Group], None], check: Callable[[h5py.Group], None]
    ) -> None:
        """`check` reads what was written; where it raises, the layer is not there."""
        path = self.path(text, layer)
        half = path.with_name(f".{path.name}.{os.getpid()}.half")
        try:
            with h5py.File(half, "w") as file:
                file.attrs[_IDENTITY] = self.identity
                write(file.create_group(_LAYER))
                file.flush()  # closing does not say when it fails
            with h5py.File(half, "r") as file:
                check(file[_LAYER])
            sync(half)
            os.replace(half, path)
            sync(self.folder)
        finally:
            half.unlink(missing_ok=True)

    def assemble(
        self, layers: list[int], found: list[Context], model: str, source_dtype: str, more: dict[str, str]
    ) -> None:
        """The tensor file from all its layers, whole or not at all; the layers are then gone."""
        with TensorFile(self.output) as target:
            write_root(target.file, model, source_dtype, {**more, _IDENTITY: self.identity})
            for text, context in enumerate(found):
                group = target.file.create_group(f"text{text}")
                write_text(group, context.name, len(context.tokens), context.start)
                group.attrs["leading_special_tokens"] = context.leading
                for layer in layers:
                    with h5py.File(self.path(text, layer), "r") as part:
                        part.copy(_LAYER, group, name=f"layer{layer}")
            target.file.flush()
        for path in self._files():
            path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _is_half(name: str) -> bool:
    return name.startswith(".text") and name.endswith(".half")
