"""python3 -m real_model: one layer's Q, K and V of a real encoder over a long text, as a tensor file.

The text is read in windows of the model's context length. Tokens of different windows never attend to one another; the
file says so. jobs/cases/real-model.sh fetches the model and the text and runs this.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from asymptop.layers.heads import HeadSums, HeadTable
from asymptop.tensors.mapped import TensorError
from asymptop.tensors.study_input import TensorFile
from numpy.typing import NDArray

from .encoder import Array, Encoder, load_encoder
from .text import read_lines

WINDOWS_AT_ONCE = 2
SECONDS_BETWEEN_LINES = 10


class Windows(NamedTuple):
    """Token ids (windows, window length), and which places of a window are written."""

    token_ids: NDArray[np.int32]
    kept: slice


class Block(NamedTuple):
    """What a few windows gave: the layer's input (rows, hidden), and Q, K and V (heads, rows, head_dim) each."""

    x: Array
    qkv: tuple[Array, Array, Array]


def tokenise(encode: Callable[[list[str]], list[list[int]]], lines: list[str], wanted: int) -> NDArray[np.int32]:
    """The first `wanted` tokens of the text, no special ones."""
    found: list[int] = []
    for begin in range(0, len(lines), 1000):
        if len(found) >= wanted:
            break
        for ids in encode(lines[begin : begin + 1000]):
            found.extend(ids)
    return np.array(found[:wanted], dtype=np.int32)


def cut_windows(text: NDArray[np.int32], tokens: int, length: int, special: tuple[int, int], keep: bool) -> Windows:
    """[CLS] text [SEP], again and again; only full windows, so the last is dropped where the text ends in it."""
    inner = length - 2
    rows = length if keep else inner
    count = -(-tokens // rows)
    available = len(text) // inner
    if available < count:
        raise TensorError(f"--tokens is {tokens}, the text has {available * rows} in full windows")
    token_ids = np.empty((count, length), np.int32)
    token_ids[:, 0], token_ids[:, -1] = special
    token_ids[:, 1:-1] = text[: count * inner].reshape(count, inner)
    return Windows(token_ids, slice(0, length) if keep else slice(1, length - 1))


def measure_block(encoder: Encoder, layer: int, token_ids: NDArray[np.int32], kept: slice) -> list[Block]:
    x = encoder.layer_input(token_ids, layer)
    qkv = encoder.queries_keys_values(x, layer)
    return [
        Block(x[window, kept], tuple(tensor[window][:, kept] for tensor in qkv)) for window in range(len(token_ids))
    ]


def measure(encoder: Encoder, layer: int, windows: Windows, tokens: int, file: h5py.File) -> HeadSums:
    """Runs every window and writes Q, K and V; windows are independent, so threads change no bit of the result."""
    sums = HeadSums(encoder.heads, encoder.head_dim)
    starts = range(0, len(windows.token_ids), WINDOWS_AT_ONCE)
    batches = (windows.token_ids[start : start + WINDOWS_AT_ONCE] for start in starts)
    row, last_line = 0, time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for blocks in pool.map(lambda token_ids: measure_block(encoder, layer, token_ids, windows.kept), batches):
            for block in blocks:
                rows = min(len(block.x), tokens - row)
                for name, tensor in zip("QKV", block.qkv, strict=True):
                    file[name][:, row : row + rows] = tensor[:, :rows]
                sums.add_window(block.x[:rows], block.qkv[0][:, :rows], block.qkv[1][:, :rows])
                row += rows
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                print(f"real model: {row} of {tokens} tokens", file=sys.stderr)
    return sums


def head_table(encoder: Encoder, layer: int, sums: HeadSums) -> HeadTable:
    scale = 1 / math.sqrt(encoder.head_dim)
    norms = encoder.projection_norms(layer)
    return HeadTable(norms, sums.input_max, sums.input_std, scale, sums.sigma(scale), sums.sigma_in_window(scale))


def window_note(length: int, windows: int) -> str:
    return (
        f"The model read the text in {windows} windows of {length} tokens: tokens of different windows never attended "
        "to one another. Logits between windows are what its queries and keys give, not something that it ever used."
    )


def store_table(file: h5py.File, table: HeadTable, facts: dict[str, str | int | float]) -> None:
    group = file.create_group("model")
    group.attrs.update(facts)
    heads = len(table.w_frobenius)
    columns = {
        "W_frobenius": (table.w_frobenius, "‖W_Q W_K^T‖_F of the head, biases aside"),
        "B": (np.full(heads, table.bound), "largest |x_ij| of the layer's inputs"),
        "input_std": (np.full(heads, table.input_std), "standard deviation of the layer's inputs"),
        "R": (table.norm_parameter, "B^2 ‖W_Q W_K^T‖_F"),
        "sigma": (table.sigma, "rms over rows of the standard deviation of a row's logits over all keys"),
        "sigma_in_window": (table.sigma_in_window, "the same over the keys of the row's own window"),
        "sigma_predicted": (table.predicted_sigma, "scale R (std/B)^2: inputs with independent coordinates"),
    }
    for name, (values, long_name) in columns.items():
        group.create_dataset(name, data=values).attrs["long_name"] = long_name


def load_windows(arguments: argparse.Namespace, length: int) -> Windows:
    from tokenizers import Tokenizer  # of the script's own environment; the encoder does without

    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    wanted = arguments.tokens + 2 * (arguments.tokens // (length - 2)) + 2 * length
    text = tokenise(
        lambda lines: [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)],
        read_lines(arguments.text),
        wanted,
    )
    special = (tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]"))
    return cut_windows(text, arguments.tokens, length, special, arguments.special == "keep")


def write_model_tensors(arguments: argparse.Namespace) -> None:
    encoder = load_encoder(arguments.model)
    layer = encoder.layers // 2 if arguments.layer is None else arguments.layer
    length = arguments.window or encoder.context_length
    check_range("--layer", layer, 0, encoder.layers - 1)
    check_range("--window", length, 3, encoder.context_length)
    check_range("--tokens", arguments.tokens, 1, 1 << 30)
    windows = load_windows(arguments, length)
    with TensorFile(arguments.output) as target:
        for name in "QKV":
            target.create(name, (encoder.heads, arguments.tokens, encoder.head_dim), np.dtype(np.float32))
        sums = measure(encoder, layer, windows, arguments.tokens, target.file)
        table = head_table(encoder, layer, sums)
        target.file.attrs["scale"] = table.scale
        target.file.attrs["note"] = window_note(length, len(windows.token_ids))
        facts = {
            "name": arguments.model_name or encoder.name,
            "layer": layer,
            "layers": encoder.layers,
            "text": arguments.text_name or arguments.text.name,
            "window": length,
            "windows": len(windows.token_ids),
            "rows_per_window": len(range(length)[windows.kept]),
            "special_tokens": arguments.special,
        }
        store_table(target.file, table, facts)
        kept_ids = windows.token_ids[:, windows.kept].reshape(-1)[: arguments.tokens]
        target.file.create_dataset("model/token_id", data=kept_ids).attrs["long_name"] = "token of each row"


def check_range(option: str, value: int, smallest: int, largest: int) -> None:
    if not smallest <= value <= largest:
        raise TensorError(f"{option} is {value}, allowed is {smallest} to {largest}")


def print_file(path: Path) -> None:
    """The table of a file, new or from an earlier run, and what the reader must know of it."""
    with h5py.File(path) as file:
        group = file["model"]
        facts = group.attrs
        table = HeadTable(
            group["W_frobenius"][()],
            float(group["B"][0]),
            float(group["input_std"][0]),
            float(file.attrs["scale"]),
            group["sigma"][()],
            group["sigma_in_window"][()],
        )
        heads, n, d = file["Q"].shape
        print(f"model {facts['name']}, layer {facts['layer']} of 0 to {facts['layers'] - 1}, text {facts['text']}")
        print(f"{heads} heads, n = {n} tokens, d = {d}, special tokens: {facts['special_tokens']}")
        for line in table.lines():
            print(line)
        print(f"Note: {file.attrs['note']}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m real_model", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="config.json, model.safetensors, tokenizer.json")
    parser.add_argument("--text", type=Path, metavar="FILE", help="UTF-8 text, or bible.data of bible-kjv-text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help="tensor file to write")
    parser.add_argument("--layer", type=int, metavar="L", help="from 0 (default: the middle one)")
    parser.add_argument("--tokens", type=int, metavar="N", default=65536, help="rows to write (default: %(default)s)")
    parser.add_argument("--window", type=int, metavar="W", help="tokens per window (default: the context length)")
    parser.add_argument(
        "--special",
        choices=("drop", "keep"),
        default="drop",
        help="rows of [CLS] and [SEP]: they are attended to in either case (default: %(default)s)",
    )
    parser.add_argument("--model-name", default="", help="name to record")
    parser.add_argument("--text-name", default="", help="name to record")
    parser.add_argument("--show", action="store_true", help="print the table of an existing file, run nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.show and not (arguments.model and arguments.text):
        parser.error("--model and --text are needed")
    try:
        if not arguments.show:
            write_model_tensors(arguments)
        print_file(arguments.output)
    except TensorError as error:
        print(f"real model: {error}", file=sys.stderr)
        return 2
    except (OSError, KeyError) as error:
        print(f"real model: {error}", file=sys.stderr)
        return 1
    return 0
