"""The whole of a capture: load, cut contexts, try the model on a short one, run it over each, check, write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
import torch

from ..io.output_target import output_target
from ..tensors.layered_file import LogitTerms, read_terms, write_layer
from ..tensors.mapped import TensorError
from .environment import available_memory
from .exact_rows import exact_rows
from .loading import Model, load
from .parts import Parts
from .recorder import Finished, LayerCapture, Recorder
from .texts import Context, contexts, identity

TRIAL_TOKENS = 64
FLOAT_BYTES = 4  # of every number in the file
# Of what attention written out was seen to hold: masks, and what else a pass takes. 1.1 to 1.2 were seen.
MATRIX_MARGIN = 1.2
# |difference| of an attention output over sum_j p_j |v_j|: of the file from the model's own code, both in float64, and
# of what the model went on with, which is computed in its own type.
FILE_BOUND = 1e-4
USED_BOUND = {"float32": 1e-3, "bfloat16": 3e-2}

Say = Callable[[str], None]


class CheckError(Exception):
    """A layer whose file does not give the model's attention."""


@dataclass(frozen=True)
class Asked:
    """Of the command line. `layers`: None is all."""

    model: Path
    texts: list[Path]
    lengths: list[int]
    layers: list[int] | None
    places: int
    dtype: str
    device: str
    output: Path
    resume: bool
    force: bool


@dataclass(frozen=True)
class LayerSummary:
    """What was written of a layer, and its largest error over all texts."""

    layer: int
    shapes: dict[str, tuple[int, ...]]
    terms: LogitTerms
    error: float


def capture(asked: Asked, say: Say) -> list[LayerSummary]:
    """Writes the file. Raises TensorError for what cannot be done, CheckError where the check fails."""
    device = chosen_device(asked.device)
    started = time.monotonic()
    say(f"loading {asked.model}")
    model = load(asked.model, asked.dtype, device)
    say(f"{model.kind} in {asked.dtype} on {device}, {time.monotonic() - started:.1f} s")
    length = asked.lengths[-1]
    if model.longest is not None and length > model.longest:
        raise TensorError(f"--lengths has {length}, {asked.model} takes {model.longest} positions at most")
    found, notes = contexts(asked.texts, model.tokenise, length, asked.places)
    for note in notes:
        say(f"note: {note}")
    tried = trial(model, asked.layers, found[0].tokens[:TRIAL_TOKENS], asked.dtype, device)
    model, widths, layers = tried.model, tried.widths, list(tried.widths)
    if tried.matrix_bytes:
        check_memory(tried.matrix_bytes, length, device, say)
    facts = {"model": model.kind, "dtype": asked.dtype, "files": model.fingerprint}
    parts = Parts(output_target(asked.output), identity(facts, found))
    if asked.resume and parts.output.exists() and not asked.force:
        if parts.finished(layers, len(found)):
            say(f"{asked.output} is whole already")
            return summaries(parts.output, layers, {})
        raise TensorError(f"{asked.output}: exists and is of another capture; --force replaces it")
    parts.begin(asked.resume, asked.force)
    check_room(parts, widths, len(found), length)
    passes = Passes(model, layers, parts, asked.dtype, device, say)
    for text in range(len(found)):
        passes.over(found, text)
    more = {"lengths": ",".join(map(str, asked.lengths)), "architecture": model.kind}
    parts.assemble(layers, found, asked.model.name, asked.dtype, more)
    say(f"{time.monotonic() - started:.1f} s in all")
    return summaries(parts.output, layers, passes.errors)


def chosen_device(asked: str) -> str:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise TensorError("--device is 'cuda', and PyTorch finds no GPU; allowed here are auto and cpu")
    return ("cuda" if there else "cpu") if asked == "auto" else asked


def check_room(parts: Parts, widths: dict[int, int], texts: int, tokens: int) -> None:
    """Raises TensorError where the disk has no room for the layers and, before they are gone, the file of them all."""
    missing = sum(width for text in range(texts) for layer, width in widths.items() if not parts.whole(text, layer))
    needed = FLOAT_BYTES * tokens * (missing + texts * sum(widths.values()))
    free = shutil.disk_usage(parts.output.resolve().parent).free
    if needed > free:
        raise TensorError(
            f"{parts.output}: needs {needed / 1e9:.3g} GB while layers become one file, and its disk has "
            f"{free / 1e9:.3g} free; fewer --layers or --places, or shorter --lengths, take less"
        )


def check_memory(matrix_bytes: float, tokens: int, device: str, say: Say) -> None:
    """Of a model that writes its attention out, by the bytes for each pair of tokens that it held in the trial. Raises
    TensorError where they are not there."""
    matrix_bytes *= MATRIX_MARGIN
    needed = matrix_bytes * tokens**2
    free = float(torch.cuda.mem_get_info()[0]) if device == "cuda" else available_memory()
    words = f"its attention is written out, with matrices of n x n: about {needed / 1e9:.3g} GB at {tokens} tokens"
    if free is not None and needed > free:
        most = int((free / matrix_bytes) ** 0.5)
        raise TensorError(f"{words}, and {free / 1e9:.3g} GB are available; --lengths may be up to about {most}")
    say(words)


@dataclass(frozen=True)
class Trial:
    """How the model's attention is seen, the numbers that a token has in each layer to write, and the bytes for each
    pair of tokens that attention written out holds (0: it is computed in blocks)."""

    model: Model
    widths: dict[int, int]
    matrix_bytes: float


def trial(model: Model, asked: list[int] | None, tokens: list[int], dtype: str, device: str) -> Trial:
    """By a pass over a few tokens whose check is the same as for all. Raises as `capture`."""
    widths: dict[int, int] = {}

    def deliver(one: LayerCapture) -> None:
        widths[one.layer] = sum(x.shape[0] * x.shape[2] for x in one.tensors.values())
        with h5py.File(f"trial-layer{one.layer}", "w", driver="core", backing_store=False) as file:
            write(file, one)
            check(file, one, dtype)

    recorder = Recorder(deliver, None if asked is None else frozenset(asked), to_the_end=True)
    modules = list(model.network.modules())
    run(model, recorder, tokens, device)
    if not recorder.seen and model.through_interface:
        # Some that can be told which function to call do not call it.
        model.network.set_attn_implementation("eager")
        model = replace(model, through_interface=False)
        run(model, recorder, tokens, device)
    if any(now is not before for now, before in zip_longest(model.network.modules(), modules)):
        words = f"{model.kind} takes other modules for {len(tokens)} tokens than it has"
        raise TensorError(f"{words}: its attention depends on the length of its input (BigBird's), and is not captured")
    there = sorted(recorder.seen)
    if not there:
        raise TensorError(f"{model.kind} calls no attention function that is known, {recorder.unread()}")
    if lost := sorted(set(asked or []) - set(there)):
        shown = ",".join(map(str, there))
        raise TensorError(f"--layers has {lost[0]}, allowed are layers with attention: {shown}")
    chosen = {layer: widths[layer] for layer in (there if asked is None else sorted(asked))}
    return Trial(model, chosen, recorder.matrix_bytes / len(tokens) ** 2)


def run(model: Model, recorder: Recorder, tokens: list[int], device: str) -> None:
    """One pass. What goes wrong within the model is one line."""
    recorder.tokens = len(tokens)
    try:
        with recorder.listening(model.network, model.through_interface):
            model.run(tokens, device)
    except Finished:
        return
    except (TensorError, CheckError, OSError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise CheckError(f"{model.kind} fails on {len(tokens)} tokens: {type(error).__name__}: {why}") from error


@dataclass
class Passes:
    """Passes over contexts, each of which adds the layers that are not there yet."""

    model: Model
    layers: list[int]
    parts: Parts
    dtype: str
    device: str
    say: Say
    errors: dict[int, float] = field(default_factory=dict)  # the largest of each layer

    def over(self, found: list[Context], text: int) -> None:
        context, started = found[text], time.monotonic()
        missing = [layer for layer in self.layers if not self.parts.whole(text, layer)]
        told = f"text {text} ({context.name} from token {context.start}), {text + 1} of {len(found)}"
        if kept := len(self.layers) - len(missing):
            self.say(f"{told}: {kept} of {len(self.layers)} layers are there already")

        def deliver(one: LayerCapture) -> None:
            def checked(group: h5py.Group) -> None:
                self.errors[one.layer] = max(self.errors.get(one.layer, 0.0), check(group, one, self.dtype))

            self.parts.add(text, one.layer, lambda group: write(group, one), checked)
            done = f"layer {one.layer}, {missing.index(one.layer) + 1} of {len(missing)}"
            self.say(f"{told}: {done}, error {self.errors[one.layer]:.1e}, {time.monotonic() - started:.1f} s")

        if missing:
            run(self.model, Recorder(deliver, frozenset(missing)), context.tokens, self.device)


def write(group: h5py.Group, one: LayerCapture) -> None:
    tensors = {name: tensor.float().cpu().numpy() for name, tensor in one.tensors.items()}
    write_layer(group, one.layer, tensors, one.terms)


def check(group: h5py.Group, one: LayerCapture, dtype: str) -> float:
    """The error of what the file says. Raises CheckError, with the layer's number, beyond a bound."""
    exact = exact_rows(group, one.rows)
    for what, found, bound in (
        ("the model's own attention", one.own, FILE_BOUND),
        (f"the attention in {dtype} that the model went on with", one.used, USED_BOUND[dtype]),
    ):
        error = exact.error(np.asarray(found))
        if not error <= bound:
            words = f"differs by {error:.2g} from {what} over {len(one.rows)} rows, allowed is {bound:g}"
            raise CheckError(f"layer {one.layer}: attention by what the file says {words}")
    return exact.error(np.asarray(one.own))


def summaries(path: Path, layers: list[int], errors: dict[int, float]) -> list[LayerSummary]:
    with h5py.File(path, "r") as file:
        return [
            LayerSummary(
                layer,
                {name: file[f"text0/layer{layer}/{name}"].shape for name in "QKV"},
                read_terms(file[f"text0/layer{layer}"]),
                errors.get(layer, float("nan")),
            )
            for layer in layers
        ]
