"""Tensor files of version 2: layers of a model over some texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from brute_force import Tensors

Attribute = float | int | str


@dataclass(frozen=True)
class ModelFile:
    """Of every text its layers by number; `attributes` of layers beside those that all have."""

    texts: list[dict[int, Tensors]]
    attributes: Mapping[int, Mapping[str, Attribute]] = field(default_factory=dict)
    datasets: Mapping[int, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        with h5py.File(path, "w") as file:
            file.attrs["tensor_format"] = np.int64(2)
            file.attrs["model"] = "toy/model"
            file.attrs["source_dtype"] = "float32"
            for number, layers in enumerate(self.texts):
                text = file.create_group(f"text{number}")
                text.attrs["name"] = f"book {number}"
                text.attrs["start"] = np.int64(0)
                for layer, tensors in layers.items():
                    text.attrs["tokens"] = np.int64(tensors.k.shape[1])
                    group = text.create_group(f"layer{layer}")
                    for name, values in (("Q", tensors.q), ("K", tensors.k), ("V", tensors.v)):
                        group[name] = values
                    for name, values in self.datasets.get(layer, {}).items():
                        group[name] = values
                    group.attrs["layer"] = np.int64(layer)
                    group.attrs["scale"] = tensors.logit_scale()
                    group.attrs["mask"] = "causal"
                    group.attrs["attention"] = "global"
                    for name, value in self.attributes.get(layer, {}).items():
                        group.attrs[name] = np.int64(value) if isinstance(value, int) else value
        return path

    def of_layer(self, layer: int) -> list[Tensors]:
        return [layers[layer] for layers in self.texts]


def random_model(
    rng: np.random.Generator, texts: int, layers: tuple[int, ...], n: int, d: int, m: int | None = None
) -> ModelFile:
    """Four query heads on two key heads, m queries (n unless given), logits with a standard deviation of about 1.5."""
    m = n if m is None else m

    def tensors(scale: float) -> Tensors:
        return Tensors(
            q=(1.5 / (scale * np.sqrt(d)) * rng.standard_normal((4, m, d))).astype(np.float32),
            k=rng.standard_normal((2, n, d)).astype(np.float32),
            v=rng.standard_normal((2, n, d)).astype(np.float32),
            scale=scale,
        )

    return ModelFile([{layer: tensors(0.1 + 0.05 * i) for i, layer in enumerate(layers)} for _ in range(texts)])
