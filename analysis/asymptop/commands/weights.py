"""`weights`: R, sigma, the predicted regime and a law of k for every head of a real model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..io.output_target import records_file, write_records
from ..io.streams import UsageError
from ..layers import query_key_norms
from ..layers.reading import LAYOUTS, Given
from ..report.weights import Asked, weights_report
from ..report.weights_table import print_heads, records
from ..theory.sizes import SizeError, parse_sizes
from ..weights import fused_layouts

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
DESCRIPTION = """\
Reads W_Q and W_K of a model and prints, per layer and head: ‖W‖_F of W = W_Q W_K^T, R = B^2 ‖W‖_F, sigma, how spread
a row is at several n, and the law k = a n^C that keeps the tail mass at epsilon there, with the errors that i.i.d.
Gaussian logits of that sigma give it. sigma = scale * R * (std/B)^2 = scale * ‖W‖_F * std^2 holds for independent
coordinates of standard deviation std; with --inputs it is measured instead: the root mean square over rows of the
deviation of a row's logits over all keys. Biases count where it is measured. Where queries and keys pass a norm, sigma
is that of the weights as they stand for no input: it is measured too, on drawn Gaussian inputs where none are given.

With --captured sigma of every head stands beside that of its rows in a capture of the same model, and a line says how
far off it is. Positions enter neither number of the weights: with rotary embeddings it is that of queries and keys at
the same place. The scale and whatever else of the model's attention is left out are printed.
"""
EPILOG = """\
examples:
  python3 -m asymptop weights model.safetensors                          heads from config.json beside the file
  python3 -m asymptop weights checkpoint/                                a folder, or model.safetensors.index.json
  python3 -m asymptop weights w.npz --bound 1 --std 0.577                W_Q and W_K (d_model, d_head), uniform inputs
  python3 -m asymptop weights model.safetensors --inputs hidden.npz --n 2^10,2^14,2^20 --json heads.json
  python3 -m asymptop weights a.safetensors b.safetensors --q '*.q_proj.weight' --k '*.k_proj.weight' --kv-heads 8
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", type=Path, nargs="+", metavar="FILE", help="tensors: .safetensors (or a folder of), .npz, .npy, HDF5")
    add("--q", metavar="NAME", help="name of the query weights, * for what differs between layers")
    add("--k", metavar="NAME", help="name of the key weights; that of --q where one tensor holds both")
    add("--heads", type=int, default=0, metavar="H", help="query heads (default: config.json, W_Q: 1)")
    add("--kv-heads", type=int, default=0, metavar="G", help="key heads, if fewer (default: by the shapes)")
    add("--head-dim", type=int, default=0, metavar="D", help="check of the size of a head")
    add("--layout", choices=LAYOUTS, default="auto", help="out-first as torch; in-first: transposed")
    add(
        "--fused",
        choices=("auto", *fused_layouts.CHOICES),
        default="auto",
        help="queries, keys and values in one tensor: in three blocks, or a group (head) after the other",
    )
    add(
        "--qk-norm",
        choices=query_key_norms.CHOICES,
        default="auto",
        help="norm of queries and keys: rms+1 multiplies by 1 + weight (default: by the tensors and config.json)",
    )
    add("--bound", type=float, metavar="B", help="bound of an input's coordinates (default: measured, or 1)")
    add("--std", type=float, metavar="S", help="their standard deviation (default: measured, or B)")
    add("--inputs", type=Path, metavar="FILE", help="sample inputs, (tokens, d_model); one, or one a layer")
    add("--captured", type=Path, metavar="FILE", help="tensor file of capture, whose sigma each head is held against")
    add("--scale", type=float, metavar="S", help="logit scale (default: the model's by config.json, or 1/sqrt(d_head))")
    add("--n", default="2^10,2^14,2^17,2^20", metavar="LIST", help="default: %(default)s")
    add("--epsilon", type=float, default=0.1, metavar="E", help="tail mass allowed (default: %(default)s)")
    add("--json", type=records_file, metavar="FILE", help="all numbers; - is stdout, and the table then goes to stderr")


def _sizes(text: str) -> list[int]:
    try:
        found = parse_sizes(text, 1 << 60)
    except SizeError as error:
        raise UsageError(f"--n is '{text}': {error}") from error
    if found[0] < 16:
        raise UsageError(f"--n is '{text}', allowed is a list of integers from 16 to 2^60, such as 4096,2^20")
    return found


def _check(arguments: argparse.Namespace) -> None:
    for option in ("bound", "std", "scale"):
        value = getattr(arguments, option)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{option} is {value:g}, allowed is a positive number")
    if not 0 < arguments.epsilon < 1:
        raise UsageError(f"--epsilon is {arguments.epsilon:g}, allowed is a number between 0 and 1")
    for option in ("heads", "kv_heads", "head_dim"):
        if getattr(arguments, option) < 0:
            raise UsageError(
                f"--{option.replace('_', '-')} is {getattr(arguments, option)}, allowed is a positive integer"
            )


def _asked(arguments: argparse.Namespace) -> Asked:
    _check(arguments)
    names = ("heads", "kv_heads", "head_dim", "layout", "fused", "qk_norm")
    given = Given(*(getattr(arguments, name) for name in names))
    more = {
        name: getattr(arguments, name) for name in ("q", "k", "bound", "std", "inputs", "scale", "epsilon", "captured")
    }
    return Asked(tuple(arguments.files), given, sizes=_sizes(arguments.n), **more)


def run(arguments: argparse.Namespace) -> int:
    report = weights_report(_asked(arguments))
    print_heads(report, write_records(arguments.json, records(report), arguments.files))
    return EXIT_OK
