"""The values of a checkpoint's tensor, fit for use: float8 multiplied by its scales, finite, and not all zero."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import is_float8
from ..tensors.mapped import TensorError
from .checkpoint import Checkpoint, Tensor

# Factors of a float8 weight, by what is added to its name or put in place of 'weight' at its end. All multiply.
_ADDED = ("_scale_inv", "_scale")
_IN_PLACE = ("scale_weight", "scale")
_USUAL_BLOCK = 128


def values(
    checkpoint: Checkpoint, name: str, blocks: Sequence[int] = (), may_be_zero: bool = False
) -> NDArray[np.float64]:
    """In float64. `blocks` is the model's block of rows and columns that share a scale. Raises TensorError."""
    tensor = checkpoint.tensors[name]
    if tensor.fault:
        raise TensorError(f"{tensor.label} cannot be read: it is {tensor.fault}")
    found = tensor.read()
    if not found.size:
        raise TensorError(f"{tensor.label} of shape {tensor.shape} is empty")
    if is_float8(tensor.kind):
        found = _scaled(checkpoint, tensor, found, blocks)
    if tensor.turned:
        checkpoint.say_once(
            f"axes in {tensor.turned}'s order were turned", f": {tensor.label} is taken as {tensor.shape}"
        )
    if not np.all(np.isfinite(found)):
        raise TensorError(f"{tensor.label} holds values that are not finite")
    if not may_be_zero and not np.any(found):
        raise TensorError(f"{tensor.label} of shape {tensor.shape} is zero everywhere: never written or never trained")
    return found


def bias_of(checkpoint: Checkpoint, names: Sequence[str], size: int) -> NDArray[np.float64]:
    """The first of these tensors that is there, as (size); zeros where none is."""
    name = next((n for n in names if n in checkpoint.tensors), None)
    if name is None:
        return np.zeros(size)
    bias = values(checkpoint, name, may_be_zero=True)
    if bias.size != size:
        raise TensorError(f"{name} of shape {bias.shape} is no bias of {size} outputs")
    return bias.ravel()


def bias_names(weight: str) -> list[str]:
    """What the bias beside a weight is called: weight and kernel give way to bias, w to b, W_Q to b_Q."""
    forms = ((r"(weight|kernel)(:0)?$", r"bias\2"), (r"(?<=[._/])w(:0)?$", r"b\1"), (r"W_([QK])$", r"b_\1"))
    return [other for form, bias in forms if (other := re.sub(form, bias, weight)) != weight]


def _scaled(
    checkpoint: Checkpoint, tensor: Tensor, found: NDArray[np.float64], blocks: Sequence[int]
) -> NDArray[np.float64]:
    stem = tensor.name.removesuffix("weight")
    names = [tensor.name + end for end in _ADDED] + [stem + end for end in _IN_PLACE if stem != tensor.name]
    present = [name for name in names if name in checkpoint.tensors]
    if not present:
        _refuse_unknown_scales(checkpoint, tensor, stem)
        checkpoint.say_once(f"{tensor.kind} without scales is taken as it is", f", e.g. {tensor.label}")
        return found
    if len(present) > 1:
        raise TensorError(f"{tensor.label} is {tensor.kind} with more than one scale: {', '.join(present)}")
    scale = values(checkpoint, present[0])
    checkpoint.say_once(f"{tensor.kind} is multiplied by its scales", f", e.g. {tensor.name} by {present[0]}")
    return found * _spread(scale, found.shape, blocks, tensor, present[0])


def _refuse_unknown_scales(checkpoint: Checkpoint, tensor: Tensor, stem: str) -> None:
    """float8 is a plain cast only where nothing that may be its scale lies beside it, or elsewhere."""
    ends = [(n, n[len(stem) :]) for n in checkpoint.tensors if n != tensor.name and n.startswith(stem)]
    beside = [n for n, end in ends if "scal" in end and "input" not in end and "activation" not in end]
    what = f"{tensor.label} is {tensor.kind} and its scale is not known"
    if beside:
        raise TensorError(f"{what}; {beside[0]} lies beside it")
    if checkpoint.missing_shards:
        raise TensorError(f"{what}; {checkpoint.missing_shards}")


def _spread(
    scale: NDArray[np.float64], shape: tuple[int, ...], blocks: Sequence[int], tensor: Tensor, name: str
) -> NDArray[np.float64]:
    """A scale of the tensor, its rows or its blocks, as something that multiplies the tensor."""
    if scale.size == 1:
        return scale.reshape(())
    if len(shape) == 2 and scale.shape == shape[:1]:
        return scale[:, np.newaxis]
    if len(shape) != len(scale.shape):
        raise TensorError(f"{name} of shape {scale.shape} is not a scale of the tensor {shape}, its rows or its blocks")
    for axis, (extent, count) in enumerate(zip(shape, scale.shape, strict=True)):
        block = blocks[axis] if len(blocks) == len(shape) and count not in (1, extent) else _block(extent, count)
        if not block or -(-extent // block) != count:
            raise TensorError(
                f"{name} of shape {scale.shape} does not say which blocks of {tensor.name} {shape} share a scale"
                f"{f', those of config.json are {tuple(blocks)}' if blocks else ''}"
            )
        scale = np.repeat(scale, block, axis=axis).take(range(extent), axis=axis)
    return scale


def _block(extent: int, count: int) -> int:
    """The size of `count` blocks: equal ones, or of the usual size with a short last one; 0 where both would do."""
    if count == 1:
        return extent
    sizes = {extent // count} if extent % count == 0 else set()
    sizes |= {_USUAL_BLOCK} if -(-extent // _USUAL_BLOCK) == count else set()
    return sizes.pop() if len(sizes) == 1 else 0
