"""Forward pass of a BERT encoder (MiniLM, all-MiniLM and their like) in numpy, up to one layer's Q, K and V.

Windows have no padding, so no attention mask is needed. Arrays are float32; shapes are (windows, tokens, ...).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from asymptop.tensors.mapped import TensorError, read_catalogue
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[np.float32]
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Encoder:
    """Weights by their names in the file (without a leading `bert.`), and the numbers of config.json."""

    name: str
    weights: dict[str, Array]
    layers: int
    heads: int
    hidden: int
    context_length: int
    norm_epsilon: float

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def linear(self, x: Array, name: str) -> Array:
        # PyTorch keeps a linear map as (outputs, inputs).
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normalise(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self.norm_epsilon))
        return centred * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def split_heads(self, x: Array) -> Array:
        """(windows, tokens, hidden) -> (windows, heads, tokens, head_dim)"""
        return x.reshape(*x.shape[:-1], self.heads, self.head_dim).swapaxes(1, 2)

    def embed(self, token_ids: NDArray[np.integer]) -> Array:
        words = self.weights["embeddings.word_embeddings.weight"][token_ids]
        positions = self.weights["embeddings.position_embeddings.weight"][: token_ids.shape[-1]]
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self.normalise(words + positions + segment, "embeddings.LayerNorm")

    def queries_keys_values(self, x: Array, layer: int) -> tuple[Array, Array, Array]:
        """Q, K and V of a layer from its input, each (windows, heads, tokens, head_dim)."""
        prefix = f"encoder.layer.{layer}.attention.self"
        query, key, value = (self.split_heads(self.linear(x, f"{prefix}.{name}")) for name in ("query", "key", "value"))
        return query, key, value

    def attend(self, x: Array, layer: int) -> Array:
        q, k, v = self.queries_keys_values(x, layer)
        p = q @ k.swapaxes(-1, -2)
        p *= np.float32(1 / math.sqrt(self.head_dim))
        p -= p.max(axis=-1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=-1, keepdims=True)
        return (p @ v).swapaxes(1, 2).reshape(x.shape)

    def apply_layer(self, x: Array, layer: int) -> Array:
        prefix = f"encoder.layer.{layer}"
        attended = self.linear(self.attend(x, layer), f"{prefix}.attention.output.dense")
        x = self.normalise(attended + x, f"{prefix}.attention.output.LayerNorm")
        inner = gelu(self.linear(x, f"{prefix}.intermediate.dense"))
        return self.normalise(self.linear(inner, f"{prefix}.output.dense") + x, f"{prefix}.output.LayerNorm")

    def layer_input(self, token_ids: NDArray[np.integer], layer: int) -> Array:
        """What layer number `layer` (from 0) sees; `layers` itself gives the output of the last."""
        x = self.embed(token_ids)
        for below in range(layer):
            x = self.apply_layer(x, below)
        return x

    def projection_norms(self, layer: int) -> NDArray[np.float64]:
        """‖W_Q W_K^T‖_F of each head, from traces of the small Gram matrices."""
        grams = []
        for name in ("query", "key"):
            weight = self.weights[f"encoder.layer.{layer}.attention.self.{name}.weight"].astype(np.float64)
            heads = weight.reshape(self.heads, self.head_dim, self.hidden)
            grams.append(heads @ heads.swapaxes(-1, -2))
        return np.sqrt(np.einsum("hij,hij->h", *grams))


def gelu(x: Array) -> Array:
    return x * (np.float32(0.5) * (1 + erf(x * np.float32(math.sqrt(0.5)))))


def load_encoder(folder: Path) -> Encoder:
    """From a folder with config.json and model.safetensors."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TensorError(f"{path}: not a readable model configuration ({error})") from error
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise TensorError(f"{path}: {key} is '{config[key]}', allowed is '{value}'")
    catalogue = read_catalogue(folder / WEIGHTS_FILE)
    weights = {}
    for name, tensor in catalogue.items():
        short = name.removeprefix("bert.")
        if short.startswith(("embeddings.", "encoder.")) and not short.endswith("position_ids"):
            weights[short] = tensor.widen(tensor.map(folder)).astype(np.float32)
    return Encoder(
        name=str(config.get("_name_or_path", folder.name)),
        weights=weights,
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        hidden=config["hidden_size"],
        context_length=config["max_position_embeddings"],
        norm_epsilon=config["layer_norm_eps"],
    )
