"""python3 -m asymptop capture: a model over texts, and what the logits of its layers consist of in one tensor file."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..capture.environment import INSTALL, require_for
from ..io.output_target import new_output
from ..io.trial import why_no_file
from ..tensors.mapped import TensorError
from ..theory.sizes import SizeError, parse_sizes

if TYPE_CHECKING:
    from ..capture.run import Asked, LayerSummary

LONGEST = 1 << 24

DESCRIPTION = f"""\
Runs a model over texts and writes, for `asymptop study --input FILE`, the queries, keys and values of its attention
layers as they meet: after norms and rotary positions, keys before they are repeated for the query heads that share
them. Beside them stands what else a logit consists of: scale, soft cap, window, mask, learned sinks, ALiBi slopes.

MODEL is a folder of Hugging Face's layout (config.json, weights, tokeniser) or a .gguf file; nothing is fetched, and no
code of the model's own is executed. Of an encoder-decoder the encoder reads the text. Each text gives --places contexts
of the largest of --lengths; a study takes shorter ones out of them. Contexts begin with the special tokens that the
model expects.

Every layer is checked before it counts: attention of 16 rows, recomputed in float64 from what the file says, must equal
what the model's own code makes of the same rows (within 1e-4 of sum_j p_j |v_j|), and what the model went on with
(1e-3 in float32, 3e-2 in bfloat16). A layer whose logits the file cannot say is refused by name: biases by tables of
distance (T5), relative products (DeBERTa), attention in chunks or to selected keys, windows that look ahead.

Models that call no function for their attention but write it out (BLOOM, MPT, GPT-Neo) are left to compute it: that
takes matrices of n x n, and a length that needs more memory than there is is refused beforehand.

Needs torch and transformers, for .gguf accelerate too: {INSTALL}.
"""
EPILOG = """\
examples:
  python3 -m asymptop capture ./gemma-3-270m --text kjv.txt --lengths 2^10:2^15 -o tensors.h5
  python3 -m asymptop capture model.gguf --text a.txt b.txt --lengths 8192 --places 4 --layers 5,11,17 -o tensors.h5
  python3 -m asymptop capture ./llama --text a.txt --lengths 32768 --dtype bfloat16 --device cuda -o t.h5 --resume
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder with config.json, weights and tokeniser, or a .gguf file")
    add("--text", nargs="+", required=True, metavar="FILE", help="texts in UTF-8; those too short are left out")
    add(
        "--lengths",
        required=True,
        metavar="LIST",
        help="context lengths in tokens, such as 2^10:2^15; the largest is run",
    )
    add("--layers", metavar="LIST", help="layers to write, such as 0,5-7 (default: all with attention)")
    add("--places", default="1", metavar="P", help="contexts of each text, evenly spaced over it (default: 1)")
    add("--dtype", default="float32", metavar="TYPE", help="the model runs in float32 or bfloat16 (default: float32)")
    add("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto, a GPU where there is one)")
    add(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="tensor file to write; layers lie in FILE.parts until all are there",
    )
    add("--resume", action="store_true", help="keep the layers that an earlier run has finished")
    add("--force", action="store_true", help="replace an existing output file, and layers that lie beside it")


def run(arguments: argparse.Namespace) -> int:
    check_options(arguments)
    require_for(Path(arguments.model))
    from ..capture.run import CheckError, capture

    try:
        found = capture(_asked(arguments), _say)
    except CheckError as error:
        print(f"asymptop capture: {error}", file=sys.stderr)
        return 1
    print_layers(found)
    print(f"wrote {arguments.output}")
    return 0


def _say(line: str) -> None:
    print(f"asymptop capture: {line}", file=sys.stderr, flush=True)


def check_options(arguments: argparse.Namespace) -> None:
    """Raises TensorError for what needs no model to be seen."""
    lengths(arguments.lengths)
    layer_list(arguments.layers)
    whole_number("--places", arguments.places)
    choice("--dtype", arguments.dtype, ("float32", "bfloat16"))
    choice("--device", arguments.device, ("auto", "cpu", "cuda"))
    if arguments.force and arguments.resume:
        raise TensorError("--force and --resume: allowed is one of them")
    for text in arguments.text:
        if not Path(text).is_file():
            raise TensorError(f"--text {text}: {why_no_file(Path(text))}")
    output = new_output(Path(arguments.output), replace=arguments.force or arguments.resume)
    if any(output.exists() and output.samefile(text) for text in (*arguments.text, arguments.model)):
        raise TensorError(f"{output}: is an input itself, allowed is another name")


def _asked(arguments: argparse.Namespace) -> Asked:
    from ..capture.run import Asked

    return Asked(
        model=Path(arguments.model),
        texts=[Path(text) for text in arguments.text],
        lengths=lengths(arguments.lengths),
        layers=layer_list(arguments.layers),
        places=whole_number("--places", arguments.places),
        dtype=arguments.dtype,
        device=arguments.device,
        output=Path(arguments.output),
        resume=arguments.resume,
        force=arguments.force,
    )


def lengths(text: str) -> list[int]:
    try:
        found = parse_sizes(text, LONGEST)
    except SizeError as error:
        raise TensorError(f"--lengths is '{text}': {error}") from error
    if found[0] < 2:
        raise TensorError(f"--lengths is '{text}', allowed is a list of sizes from 2 on, such as 4096,2^15")
    return found


def layer_list(text: str | None) -> list[int] | None:
    if text is None:
        return None
    chosen: set[int] = set()
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*([0-9]{1,6})(?:-([0-9]{1,6}))?\s*", part)
        first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (1, 0)
        if first > last:
            raise TensorError(f"--layers is '{text}', allowed is a list such as 0,5-7")
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def whole_number(option: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise TensorError(f"{option} is '{text}', allowed is a whole number from 1 on")
    return int(text)


def choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TensorError(f"{option} is '{value}', allowed are {', '.join(allowed)}")


def print_layers(found: list[LayerSummary]) -> None:
    """One line a layer: its shapes, and what its logits consist of."""
    names = ("layer", "heads", "keys", "d", "d_v", "n", "scale", "mask", "window")
    widths = (5, 5, 5, 4, 4, 7, 9, 6, 6)
    print(*(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)), " more")
    for one in found:
        (heads, n, d), (key_heads, _, _), (_, _, d_v) = (one.shapes[name] for name in "QKV")
        terms = one.terms
        more = [f"softcap {terms.softcap:g}"] if terms.softcap else []
        more += list(terms.per_head)
        more += [f"error {one.error:.1e}"] if one.error == one.error else []
        row = (one.layer, heads, key_heads, d, d_v, n, f"{terms.scale:.5g}", terms.mask, terms.window or "-")
        print(*(f"{value:>{width}}" for value, width in zip(row, widths, strict=True)), "", ", ".join(more))
