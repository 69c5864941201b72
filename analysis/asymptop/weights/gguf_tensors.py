"""Tensors and configuration of a GGUF file, by the package `gguf`, which undoes the quantisation.

llama.cpp permutes the rows of queries and keys of some models within each head, both alike: their product is the same.
Norm weights hold the 1 that Gemma adds, and fused tensors are in blocks, whatever the model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..io.trial import why_no_file
from ..tensors.mapped import TensorError
from .checkpoint import Tensor
from .model_config import ModelConfig

if TYPE_CHECKING:
    from gguf import ReaderTensor

SUFFIX = ".gguf"
_FACTS = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attention.scale": "attention_multiplier",
    "attention.sliding_window": "sliding_window",
    "attention.max_alibi_bias": "alibi_bias",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "rope.freq_base": "rope_theta",
}
# llama.cpp knows the largest Gemma 2 and 3 by their layers: their scale is by d_model / heads.
_SCALED_BY_WIDTH = {("gemma2", 46), ("gemma3", 62)}
# What else a model type says (heads of fused tensors, a 1 to be added to norms) does not hold of these files.
_AS_ELSEWHERE = ("t5", "t5encoder", "command-r", "stablelm", "persimmon")


def gguf_tensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig]:
    """Raises TensorError."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise TensorError(f"{path}: GGUF is read by the package gguf, not installed here (pip install gguf)") from error
    if not path.is_file():
        raise TensorError(f"{path}: {why_no_file(path)}")
    try:
        reader = GGUFReader(path)
        tensors = {t.name: _tensor(path, t) for t in reader.tensors}
        return tensors, _config(path, {name: field.contents() for name, field in reader.fields.items()})
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TensorError(f"{path}: not a readable GGUF file ({reason})") from error


def _tensor(path: Path, stored: ReaderTensor) -> Tensor:
    shape = tuple(int(extent) for extent in stored.shape[::-1])
    kind = stored.tensor_type.name

    def read() -> NDArray[np.float64]:
        from gguf.quants import dequantize

        try:
            return np.asarray(dequantize(stored.data, stored.tensor_type), dtype=np.float64).reshape(shape)
        except (NotImplementedError, ValueError) as error:
            raise TensorError(f"{path}:{stored.name} of type {kind} is not taken by the package gguf") from error

    return Tensor(stored.name, shape, kind if kind in ("I8", "I16", "I32", "I64") else "", path, read)


def _config(path: Path, metadata: dict[str, Any]) -> ModelConfig:
    kind = str(metadata.get("general.architecture", ""))
    facts = {name: metadata[f"{kind}.{key}"] for key, name in _FACTS.items() if f"{kind}.{key}" in metadata}
    if (kind, facts.get("num_hidden_layers")) in _SCALED_BY_WIDTH:
        facts["query_pre_attn_scalar"] = facts["hidden_size"] / facts["num_attention_heads"]
    if facts.get("attention_multiplier") == 0.0:
        del facts["attention_multiplier"]
    if math.isfinite(facts.get("alibi_bias", 0.0)) and facts.get("alibi_bias"):
        facts["alibi"] = True
    return ModelConfig(path, facts, "metadata", kind if kind in _AS_ELSEWHERE else f"{kind} of GGUF")
