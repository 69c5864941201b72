"""From the files of a model to the numbers of every head: ‖W_Q W_K^T‖_F, R, sigma and a law of k."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..capture.measured_sigma import captured_sigmas
from ..layers.attention import AttentionLayer, LayerOutline
from ..layers.attention_scale import Scale, left_out, logit_scale
from ..layers.query_key_norms import strays
from ..layers.reading import Given, LayerReader
from ..tensors.mapped import TensorError
from ..theory.head_predictions import Prediction, recommend
from ..weights.checkpoint import Checkpoint
from ..weights.files import file_tensors, read_checkpoint
from ..weights.model_config import ModelConfig, read_config
from ..weights.names import counted, find_modules, given_modules, is_seeing, layer_of
from ..weights.values import values

# Inputs drawn where a norm stands between weights and logits, so that no formula gives sigma.
DRAWN_ROWS, DRAWN_SEED = 1024, 1


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    files: tuple[Path, ...]
    given: Given
    sizes: Sequence[int]
    epsilon: float
    q: str | None = None
    k: str | None = None
    bound: float | None = None
    std: float | None = None
    inputs: Path | None = None
    scale: float | None = None
    captured: Path | None = None


@dataclass(frozen=True)
class Inputs:
    """B and std of the inputs and where they come from; a sample of them per layer, where one was given."""

    bound: float
    std: float
    words: str
    samples: Mapping[str, NDArray[np.float64]]

    def sample(self, layer: str, width: int) -> NDArray[np.float64] | None:
        """The layer's own sample, or the one for all."""
        found = self.samples.get(layer, self.samples.get(""))
        if found is not None and found.shape[1] != width:
            raise TensorError(f"layer {layer}: its inputs are {width} wide, those of --inputs {found.shape[1]}")
        return found


@dataclass(frozen=True)
class HeadReport:
    layer: str
    head: int
    kv_head: int
    scale: Scale
    norm: float
    r: float
    sigma_isotropic: float
    sigma_measured: float | None
    law: str
    predictions: tuple[Prediction, ...]
    sigma_captured: float | None = None  # in the capture that was given

    @property
    def sigma(self) -> float:
        """What the predictions are made of."""
        return self.sigma_isotropic if self.sigma_measured is None else self.sigma_measured


@dataclass(frozen=True)
class WeightsReport:
    """`notes` say how the files were taken, `left_out` which parts of the model's attention are in no number."""

    inputs: Inputs
    epsilon: float
    heads: Sequence[HeadReport]
    notes: Sequence[str]
    left_out: Sequence[str]


def weights_report(asked: Asked) -> WeightsReport:
    """Raises TensorError. One layer's weights are held at a time."""
    checkpoint = read_checkpoint(asked.files)
    config = checkpoint.config or read_config(checkpoint.folder)
    by_name = asked.q is not None or asked.k is not None
    modules = given_modules(checkpoint, asked.q, asked.k) if by_name else find_modules(checkpoint, config)
    if checkpoint.config is None and all(is_seeing(module.prefix) for module in modules):
        config = read_config(checkpoint.folder, vision=True)
    heads: list[HeadReport] = []
    outlines: list[LayerOutline] = []
    captured = {} if asked.captured is None else captured_sigmas(asked.captured)
    inputs = None
    for module, layer in zip(modules, LayerReader(checkpoint, config, asked.given).layers(modules), strict=True):
        inputs = inputs or _inputs(asked, layer.query.width, {m.label for m in modules})
        scale = logit_scale(config, layer.head_dim, module.number, asked.scale, layer.rope_dim)
        number = int(module.number) if module.number else 0
        reports = list(_head_reports(layer, scale, inputs, asked))
        there = sum(place[0] == number for place in captured)
        if there not in (0, len(reports)):
            raise TensorError(
                f"{asked.captured}: has {there} heads in layer {number}, the weights {len(reports)}: of another model"
            )
        heads += [replace(head, sigma_captured=captured.get((number, head.head))) for head in reports]
        outlines.append(layer.outline())
    if inputs is None:
        raise TensorError(f"{asked.files[0]}: no attention layer")
    notes = [*checkpoint.notes, *_how_taken(outlines), *_on_norms(outlines, inputs)]
    notes += _on_layers(outlines, config, modules[0].number != "")
    notes += _against(asked.captured, heads)
    return WeightsReport(inputs, asked.epsilon, heads, notes, _omitted(checkpoint, config, outlines, inputs))


def _head_reports(layer: AttentionLayer, scale: Scale, inputs: Inputs, asked: Asked) -> list[HeadReport]:
    norms = layer.product_norms()
    isotropic = scale.factor * norms * inputs.std**2
    if layer.norms:
        drawn = np.random.default_rng(DRAWN_SEED).standard_normal((DRAWN_ROWS, layer.query.width))
        isotropic = scale.factor * layer.logit_deviations(inputs.std * drawn)
    sample, measured = inputs.sample(layer.layer, layer.query.width), None
    if sample is not None:
        measured = scale.factor * layer.logit_deviations(sample)
    found = []
    for head, norm in enumerate(norms):
        sigma = float(isotropic[head] if measured is None else measured[head])
        law, predictions = recommend(sigma, asked.sizes, asked.epsilon)
        numbers = (float(norm), inputs.bound**2 * float(norm), float(isotropic[head]))
        of_sample = None if measured is None else sigma
        found.append(HeadReport(layer.layer, head, layer.key_head(head), scale, *numbers, of_sample, law, predictions))
    return found


# ---- inputs ------------------------------------------------------------------------------------------------------


def _inputs(asked: Asked, width: int, layers: set[str]) -> Inputs:
    samples: dict[str, NDArray[np.float64]] = {}
    bound, std, words = asked.bound, asked.std, "given"
    if asked.inputs is not None:
        samples = _samples(asked.inputs, width, layers)
        words = f"measured on {sum(len(s) for s in samples.values()):,} rows of {asked.inputs.name}"
        if bound is None:
            bound = max(float(np.abs(s).max()) for s in samples.values())
        if std is None:
            squares = sum(float(np.square(s).sum()) for s in samples.values())
            std = math.sqrt(squares / sum(s.size for s in samples.values()))
    if bound is None:
        bound, words = 1.0, "assumed: coordinates of variance 1" if std is None else words
    return Inputs(bound, bound if std is None else std, words, samples)


def _samples(path: Path, width: int, layers: set[str]) -> dict[str, NDArray[np.float64]]:
    """Inputs by layer; one tensor serves all layers. Only tensors of the width count."""
    source = Checkpoint(file_tensors(path), path.parent)
    wide = [n for n, t in source.tensors.items() if t.shape[-1:] == (width,) and len(t.shape) >= 2]
    fitting = [name for name in wide if source.usable(name)]
    if not fitting and wide:
        raise TensorError(f"{path}: inputs that cannot be read: {counted(source, wide)}")
    if not fitting:
        raise TensorError(f"{path}: no tensor has the width of W's inputs, {width}")
    by_layer = {layer_of(name): name for name in fitting}
    chosen = {"": fitting[0]} if len(fitting) == 1 else by_layer
    if len(fitting) > 1 and (len(by_layer) < len(fitting) or not layers <= set(by_layer)):
        raise TensorError(f"{path}: {len(fitting)} tensors of width {width} do not pair up with the layers")
    return {layer: values(source, name).reshape(-1, width) for layer, name in chosen.items()}


# ---- what there is to say ----------------------------------------------------------------------------------------


def _how_taken(outlines: Sequence[LayerOutline]) -> list[str]:
    """One line per way in which layers were read."""
    found: dict[str, list[LayerOutline]] = {}
    for outline in outlines:
        found.setdefault(outline.shape, []).append(outline)
    return [
        f"taken: {len(same)} layer{'s' * (len(same) > 1)} of {shape}, such as {same[0].names}"
        for shape, same in found.items()
    ]


def _on_norms(outlines: Sequence[LayerOutline], inputs: Inputs) -> list[str]:
    norms = [name for outline in outlines for name in outline.norms]
    if not norms:
        return []
    drawn = "" if inputs.samples else f", and sigma is measured on {DRAWN_ROWS:,} Gaussian inputs drawn for it"
    passed = f"queries and keys pass a norm ({len(norms)} such as {norms[0]})"
    return [f"{passed}: ‖W‖_F and R are without it, sigma is with it{drawn}"]


def _against(captured: Path | None, heads: Sequence[HeadReport]) -> list[str]:
    """How far off sigma of the weights is, as its share of the one that the capture shows."""
    if captured is None:
        return []
    shares = [head.sigma / head.sigma_captured for head in heads if head.sigma_captured]
    if not shares:
        raise TensorError(f"{captured}: has none of the layers and heads of the weights")
    within = sum(0.5 <= share <= 2.0 for share in shares)
    return [
        f"sigma is {np.median(shares):.3g} times that of {captured.name} in the median head, from {min(shares):.3g} "
        f"to {max(shares):.3g} over {len(shares)} heads, within a factor of 2 in {within}; there rows have the model's "
        "own inputs, positions, caps and windows"
    ]


def _on_layers(outlines: Sequence[LayerOutline], config: ModelConfig, numbered: bool) -> list[str]:
    total = config.size("layers")
    if not numbered or not total or len(outlines) >= total:
        return []
    return [f"{len(outlines)} of the {total} layers that {config.source} counts are in the table"]


def _omitted(
    checkpoint: Checkpoint, config: ModelConfig, outlines: Sequence[LayerOutline], inputs: Inputs
) -> list[str]:
    names = list(checkpoint.tensors)
    found = left_out(config, names)
    if stray := strays([n for n in names if not is_seeing(n)], [n for o in outlines for n in o.norms]):
        found.append(f"{len(stray)} tensors of norms of queries or keys such as {stray[0]}")
    if not inputs.samples and any(outline.biased and not outline.norms for outline in outlines):
        found.append("biases, which count with --inputs")
    if not config.path:
        found.append("what a config.json would tell, such as positions, caps and windows")
    return found
