"""Hand-made checkpoints: factors of known heads, files of any dtype, and what float64 brute force says of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line

SAFETENSORS = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "uint8": "U8"},
    **{"int32": "I32", "uint32": "U32", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64"},
}


def save_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Any dtype, ml_dtypes' too, which safetensors.numpy does not write."""
    header, body = {}, b""
    for name, array in tensors.items():
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": SAFETENSORS[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
        body += np.ascontiguousarray(array).tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def write_config(folder: Path, **facts: object) -> None:
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def told(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    """The records of a run that ends well."""
    code = command_line.main(["weights", *map(str, words), "--json", "-", "--n", "1024"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a run that ends with 2."""
    code = command_line.main(["weights", *map(str, words), "--json", "-", "--n", "1024"])
    captured = capsys.readouterr()
    assert code == 2, captured.out
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def column(facts: dict, key: str) -> list:
    return [head[key] for head in facts["heads"]]


def norms(query: np.ndarray, key: np.ndarray) -> list[float]:
    """‖W_Q W_K^T‖_F per head of (heads, d_head, d_model) factors, by the product itself."""
    group = len(query) // len(key)
    return [float(np.linalg.norm(q.astype(float).T @ key[h // group].astype(float))) for h, q in enumerate(query)]


def deviations(queries: Sequence[np.ndarray], keys: Sequence[np.ndarray], scale: float) -> list[float]:
    """Root mean square over rows of the deviation of a row's logits, from every logit; (n, d_head) per head."""
    group = len(queries) // len(keys)
    logits = [scale * q.astype(float) @ keys[h // group].astype(float).T for h, q in enumerate(queries)]
    return [float(np.sqrt(np.mean(x.var(axis=1)))) for x in logits]
