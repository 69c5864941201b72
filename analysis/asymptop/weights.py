"""`weights`: R, sigma, the predicted regime and a law of k for every head of a real model."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from . import finite_size, laws
from .decisions import power_of_two
from .real_model_heads import mean_logit_variance
from .tensors import TensorError
from .weights_file import LAYOUTS, Head, Shape, Tensor, find_heads, layer_of, read_config, read_tensors

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
DESCRIPTION = """\
Reads W_Q and W_K of a model and prints, per layer and head: ‖W‖_F of W = W_Q W_K^T, R = B^2 ‖W‖_F, sigma, how spread
a row is at several n, and the law k = a n^C that keeps the tail mass at epsilon there, with the errors that i.i.d.
Gaussian logits of that sigma give it. sigma = scale * R * (std/B)^2 = scale * ‖W‖_F * std^2 holds for independent
coordinates of standard deviation std; with --inputs it is measured instead: the root mean square over rows of the
deviation of a row's logits over all keys.

Positions enter neither number: with rotary embeddings it is that of queries and keys at the same place.
"""
EPILOG = """\
examples:
  python3 -m asymptop weights model.safetensors                          heads from config.json beside the file
  python3 -m asymptop weights w.npz --bound 1 --std 0.577                W_Q and W_K (d_model, d_head), uniform inputs
  python3 -m asymptop weights model.safetensors --inputs hidden.npz --n 2^10,2^14,2^20 --json heads.json
  python3 -m asymptop weights a.safetensors b.safetensors --q '*.q_proj.weight' --k '*.k_proj.weight' --kv-heads 8
"""


class UsageError(ValueError):
    """A bad option, in one line."""


@dataclass(frozen=True)
class Inputs:
    """B and std of the inputs and where they come from; a sample of them per layer, where one was given."""

    bound: float
    std: float
    words: str
    samples: Mapping[str, NDArray[np.float64]]

    def sample(self, layer: str) -> NDArray[np.float64] | None:
        """The layer's own sample, or the one for all."""
        return self.samples.get(layer, self.samples.get(""))


@dataclass(frozen=True)
class Prediction:
    """At one n: c of sigma = c sqrt(log n), effective entries and the k that a tail mass of epsilon takes."""

    n: int
    c: float
    phase: str
    entries: float
    p_max: float
    k_epsilon: float
    law_k: int
    tail_mass: float
    row_l2_error: float


@dataclass(frozen=True)
class HeadReport:
    head: Head
    norm: float
    r: float
    sigma_isotropic: float
    sigma_measured: float | None
    law: str
    predictions: tuple[Prediction, ...]

    @property
    def sigma(self) -> float:
        return self.sigma_isotropic if self.sigma_measured is None else self.sigma_measured


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "weights",
        help="R, sigma, regime and a law of k from a model's W_Q and W_K",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".safetensors, .npz, .npy or HDF5")
    parser.add_argument("--q", metavar="NAME", help="name of the query weights, * for what differs between layers")
    parser.add_argument("--k", metavar="NAME", help="name of the key weights")
    parser.add_argument("--heads", type=int, default=0, metavar="H", help="query heads (default: config.json, W_Q: 1)")
    parser.add_argument("--kv-heads", type=int, default=0, metavar="G", help="key heads, if fewer")
    parser.add_argument("--head-dim", type=int, default=0, metavar="D", help="check of the size of a head")
    parser.add_argument("--layout", choices=LAYOUTS, default="auto", help="out-first as torch; in-first: transposed")
    parser.add_argument(
        "--bound", type=float, metavar="B", help="bound of an input's coordinates (default: measured, or 1)"
    )
    parser.add_argument("--std", type=float, metavar="S", help="their standard deviation (default: measured, or B)")
    parser.add_argument(
        "--inputs", type=Path, metavar="FILE", help="sample inputs, (tokens, d_model); one, or one a layer"
    )
    parser.add_argument("--scale", type=float, metavar="S", help="logit scale (default: 1/sqrt(d_head))")
    parser.add_argument("--n", default="2^10,2^14,2^17,2^20", metavar="LIST", help="default: %(default)s")
    parser.add_argument(
        "--epsilon", type=float, default=0.1, metavar="E", help="tail mass allowed (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="all numbers; - is stdout, and the table then goes to stderr")
    parser.set_defaults(run=run)


def _sizes(text: str) -> list[int]:
    found = []
    for part in text.split(","):
        try:
            value = laws.evaluate(part, 1.0)
        except laws.LawError:
            value = math.nan
        if not 16 <= value <= 2.0**60 or value != round(value):
            raise UsageError(f"--n is '{text}', allowed is a list of integers from 16 to 2^60, such as 4096,2^20")
        found.append(round(value))
    return sorted(set(found))


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


def _samples(tensors: Mapping[str, Tensor], width: int, path: Path, layers: set[str]) -> dict[str, NDArray]:
    """Inputs by layer; one tensor serves all layers."""
    fitting = {name: t for name, t in tensors.items() if t.shape[-1:] == (width,) and len(t.shape) >= 2}
    if not fitting:
        raise TensorError(f"{path}: no tensor has the width of W's inputs, {width}")
    by_layer = {layer_of(name): t for name, t in fitting.items()}
    chosen = {"": next(iter(fitting.values()))} if len(fitting) == 1 else by_layer
    if len(fitting) > 1 and (len(by_layer) < len(fitting) or not layers <= set(by_layer)):
        raise TensorError(f"{path}: {len(fitting)} tensors of width {width} do not pair up with the layers")
    return {layer: t.read().reshape(-1, width) for layer, t in chosen.items()}


def _inputs(arguments: argparse.Namespace, heads: Sequence[Head]) -> Inputs:
    samples: dict[str, NDArray] = {}
    bound, std, words = arguments.bound, arguments.std, "given"
    if arguments.inputs is not None:
        width = heads[0].query.shape[1]
        samples = _samples(read_tensors([arguments.inputs]), width, arguments.inputs, {h.layer for h in heads})
        flat = np.concatenate([s.ravel() for s in samples.values()])
        if not np.all(np.isfinite(flat)):
            raise TensorError(f"{arguments.inputs}: not every value is finite")
        words = f"measured on {sum(len(s) for s in samples.values()):,} rows of {arguments.inputs.name}"
        bound = float(np.abs(flat).max()) if bound is None else bound
        std = float(np.sqrt(np.mean(np.square(flat)))) if std is None else std
    if bound is None:
        bound, words = 1.0, "assumed: coordinates of variance 1" if std is None else words
    return Inputs(bound, bound if std is None else std, words, samples)


def _measured_sigma(head: Head, sample: NDArray | None, scale: float) -> float | None:
    if sample is None:
        return None
    query, key = sample @ head.query.T + head.query_bias, sample @ head.key.T
    variance = mean_logit_variance((query.T @ query)[None], (key.T @ key)[None], key.sum(axis=0)[None], len(sample))
    return scale * float(np.sqrt(max(variance[0], 0.0)))


def phase_words(c: float) -> str:
    """How a row's weight lies at this n: c = sqrt 2 is where the few largest entries take over."""
    if c < math.sqrt(0.5):
        return "spread"
    return "thinning" if c < math.sqrt(2.0) else "frozen"


def _keys_for(row: finite_size.Profile, n: int, epsilon: float) -> int:
    """The smallest k whose mean tail mass is at most epsilon."""
    low, high = 0, n
    while high - low > max(1, high >> 12):
        middle = (low + high) // 2
        low, high = (low, middle) if finite_size.tail_mass(row, middle) <= epsilon else (middle, high)
    return high


def recommend(sigma: float, sizes: Sequence[int], epsilon: float) -> tuple[str, tuple[Prediction, ...]]:
    """The law a n^C that keeps the mean tail mass at epsilon at these n, and what it gives at each of them."""
    rows = [finite_size.profile(float(n), max(sigma, 1e-6)) for n in sizes]
    needed = np.array([float(_keys_for(row, n, epsilon)) for n, row in zip(sizes, rows, strict=True)])
    exponent = 0.0
    if len(sizes) > 1:
        exponent = float(np.polyfit(np.log(np.array(sizes, dtype=float)), np.log(needed), 1)[0])
        exponent = round(min(max(exponent, 0.0), 1.0), 3)
    # The smallest prefactor that keeps the error at every one of the n.
    prefactor = float(np.max(needed / np.array(sizes, dtype=float) ** exponent))
    prefactor = min(prefactor, 1.0) if exponent == 1.0 else prefactor
    law = f"{prefactor:.4g}*n^{exponent:g}" if exponent not in (0.0, 1.0) else f"{prefactor:.4g}{'*n' * int(exponent)}"
    found = []
    for n, row, k in zip(sizes, rows, needed, strict=True):
        chosen = min(n, max(1, math.ceil(prefactor * n**exponent * (1.0 - 1e-9))))
        c = sigma / math.sqrt(math.log(n))
        found.append(
            Prediction(
                n,
                c,
                phase_words(c),
                finite_size.exp_entropy(row),
                finite_size.p_max(row),
                float(k),
                chosen,
                finite_size.tail_mass(row, chosen),
                finite_size.row_l2_error(row, chosen),
            )
        )
    return law, tuple(found)


def report_heads(
    heads: Sequence[Head], inputs: Inputs, scale: float | None, sizes: Sequence[int], epsilon: float
) -> list[HeadReport]:
    found = []
    for head in heads:
        factor = 1.0 / math.sqrt(head.query.shape[0]) if scale is None else scale
        norm = head.product_norm
        isotropic = factor * norm * inputs.std**2
        measured = _measured_sigma(head, inputs.sample(head.layer), factor)
        law, predictions = recommend(isotropic if measured is None else measured, sizes, epsilon)
        found.append(HeadReport(head, norm, inputs.bound**2 * norm, isotropic, measured, law, predictions))
    return found


def print_heads(reports: Sequence[HeadReport], inputs: Inputs, epsilon: float, stream: TextIO) -> None:
    measured = any(r.sigma_measured is not None for r in reports)
    sizes = [p.n for p in reports[0].predictions]
    first = ["layer", "head", "‖W‖_F", "R", "sigma", *(["sigma measured"] if measured else [])]
    first += [f"n={power_of_two(n)}" for n in sizes]
    rows = [[*first, f"k for tail mass {epsilon:g}", "largest tail mass", "row l2 error"]]
    for r in reports:
        cells = [r.head.layer or "–", str(r.head.head), f"{r.norm:.4g}", f"{r.r:.4g}", f"{r.sigma_isotropic:.3f}"]
        cells += [f"{r.sigma_measured:.3f}"] if measured else []
        cells += [f"{p.phase} {p.c:.2f}, {p.entries:.3g}" for p in r.predictions]
        errors = (max(p.tail_mass for p in r.predictions), max(p.row_l2_error for p in r.predictions))
        rows.append([*cells, r.law, *(f"{e:.3g}" for e in errors)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"B = {inputs.bound:.4g}, std = {inputs.std:.4g} ({inputs.words})", file=stream)
    print("under each n: regime, c of sigma = c sqrt(log n), entries that carry a row (exp of entropy)\n", file=stream)
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(
        "\nspread: c < 0.71; thinning: c < 1.41, about n^(1-c^2/2) entries; frozen: a few entries. A fixed sigma "
        "spreads as n grows.",
        file=stream,
    )


def records(reports: Sequence[HeadReport], inputs: Inputs, epsilon: float) -> dict:
    return {
        "bound": inputs.bound,
        "std": inputs.std,
        "inputs": inputs.words,
        "epsilon": epsilon,
        "heads": [
            {
                "layer": r.head.layer,
                "head": r.head.head,
                "kv_head": r.head.kv_head,
                "frobenius": r.norm,
                "R": r.r,
                "sigma": r.sigma_isotropic,
                "sigma_measured": r.sigma_measured,
                "k_law": r.law,
                "predictions": [vars(p) for p in r.predictions],
            }
            for r in reports
        ],
    }


def run(arguments: argparse.Namespace) -> int:
    try:
        _check(arguments)
        sizes = _sizes(arguments.n)
        given = Shape(arguments.heads, arguments.kv_heads, arguments.head_dim, arguments.layout)
        shape = read_config(arguments.files[0], given)
        heads = find_heads(read_tensors(arguments.files), shape, arguments.q, arguments.k)
        inputs = _inputs(arguments, heads)
        reports = report_heads(heads, inputs, arguments.scale, sizes, arguments.epsilon)
    except (TensorError, UsageError) as error:
        print(f"asymptop weights: {error}", file=sys.stderr)
        return EXIT_USAGE
    text = json.dumps(records(reports, inputs, arguments.epsilon), indent=1) + "\n"
    if arguments.json == "-":
        sys.stdout.write(text)
    elif arguments.json is not None:
        try:
            Path(arguments.json).write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"asymptop weights: --json {arguments.json}: {error.strerror}", file=sys.stderr)
            return EXIT_FAILED
    print_heads(reports, inputs, arguments.epsilon, sys.stderr if arguments.json == "-" else sys.stdout)
    return EXIT_OK
