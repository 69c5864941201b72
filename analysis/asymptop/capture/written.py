"""Sees attention that a model writes out itself: products of activations, the softmax that one of them comes to, and
the values that its weights are multiplied by.

What a tensor descends from is followed through every function that takes it, but products and projections, which begin
anew. Tensors are known weakly: beside queries and keys of the layer that runs nothing is held, and no matrix of n x n.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from ..tensors.mapped import TensorError

_PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm", "einsum"}
_PROJECTIONS = {"linear", "addmm", "conv1d", "conv2d", "layer_norm"}
# Names of their factors where these are not given by place.
_FACTORS = ("input", "other", "mat2", "batch1", "batch2")


@dataclass(frozen=True, eq=False)
class Product:
    """Of activations: `left` (heads, m, c) and `right` (heads, c, k), and the modules that were running."""

    left: Tensor
    right: Tensor
    modules: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Weights:
    """A softmax over what descends from `products`, and what was read of it."""

    products: tuple[Product, ...]
    reading: Any  # what `read` returned; a TensorError where several softmaxes made the weights


@dataclass(frozen=True, eq=False)
class Attended:
    """A product of what descends from `weights`, used (heads, m, n), and `values`, (heads, n, d_v)."""

    weights: Weights
    used: Tensor
    values: Tensor
    output: Tensor  # (heads, m, d_v)
    module: Any  # the innermost one that all of it happened in


@dataclass(eq=False)
class WrittenAttention(TorchFunctionMode):
    """`read(products, logits, dim)` is asked at each softmax, `take` is given each attention when its output is there.

    `parameters` are the model's: a product with one of them is a projection. `modules` are those that run now.
    """

    read: Callable[[tuple[Product, ...], Tensor, int], Any]
    take: Callable[[Attended], None]
    modules: Sequence[Any]
    parameters: frozenset[int]  # addresses of their memory
    matrix_bytes: int = 0  # the most that all that descends from products held at once
    products: int = 0
    softmaxes: int = 0  # over what descends from products
    attentions: int = 0
    _origins: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    _held: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)  # of earlier layers too

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in _PRODUCTS and (factors := _factors(name, args, kwargs)) is not None:
            return self._multiplied(function, args, kwargs, factors)
        origins = self._origins_of((args, kwargs))
        if not origins or name in _PROJECTIONS:
            return function(*args, **kwargs)
        if name == "softmax" and (products := tuple(x for x in origins if isinstance(x, Product))):
            logits = args[0] if args else kwargs["input"]
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            self.softmaxes += 1
            origins = {Weights(products, self.read(products, logits, -1 if dim is None else dim)): None}
        made = function(*args, **kwargs)
        in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
        self._descends(tree_leaves((made, args[0]) if in_place else made), origins)
        return made

    def _origins_of(self, given: Any) -> dict[Any, None]:
        """In order, each once."""
        found: dict[Any, None] = {}
        if self._origins:
            for leaf in tree_leaves(given):
                if isinstance(leaf, Tensor):
                    found |= self._origins.get(leaf, {})
        return found

    def _multiplied(self, function: Any, args: tuple, kwargs: Any, factors: _Pair) -> Any:
        if any(x.untyped_storage().data_ptr() in self.parameters for x in (factors.first, factors.second)):
            return function(*args, **kwargs)
        origins = self._origins_of((factors.first,)), self._origins_of((factors.second,))
        weights = [[x for x in one if isinstance(x, Weights)] for one in origins]
        if any(weights):
            return self._attended(function, args, kwargs, factors, weights)
        left, right = factors.ordered()
        if left.shape[1] == right.shape[2] > 1:
            # As fused kernels have them: the logits of bfloat16 are not rounded to it.
            args, kwargs = (tree_map(_widened, given) for given in (args, kwargs))
        made = function(*args, **kwargs)
        self.products += 1
        # baddbmm adds to its first argument, which may be as large.
        added = self._origins_of((args[0],)) if factors.added else {}
        summands = [args[0]] if factors.added and args[0].numel() == made.numel() else []
        self._descends([made, *summands], {**added, Product(left, right, tuple(self.modules)): None})
        return made

    def _attended(self, function: Any, args: tuple, kwargs: Any, factors: _Pair, weights: list[list[Weights]]) -> Any:
        ordered = factors.ordered()
        of_left, of_right = weights if factors.in_order else weights[::-1]
        kind = (factors.second if of_left else factors.first).dtype
        args, kwargs = (tree_map(lambda x: _of_kind(x, kind), given) for given in (args, kwargs))
        made = function(*args, **kwargs)
        output = factors.canonical(made)
        used, values = ordered
        if not of_left:
            used, values, output = (x.transpose(1, 2) for x in (*ordered[::-1], output))
        (first, *others), modules = of_left or of_right, tuple(self.modules)
        inner = [one for one in first.products[0].modules if any(one is other for other in modules)]
        if others or (of_left and of_right):
            words = "multiplies weights of several softmaxes before their values, which a tensor file cannot say"
            first = Weights(first.products, TensorError(words))
        self.attentions += 1
        self.take(Attended(first, used, values, output, inner[-1] if inner else modules[-1]))
        self._origins.clear()
        return made

    def _descends(self, leaves: list[Any], origins: dict[Any, None]) -> None:
        for tensor in leaves:
            if isinstance(tensor, Tensor):
                self._origins[tensor], self._held[tensor] = origins, True
        held = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in self._held}
        self.matrix_bytes = max(self.matrix_bytes, sum(held.values()))


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two factors as they were given, and the axes of each: of its batch, those that both have and the product too; of
    its own; and of the sum."""

    first: Tensor
    second: Tensor
    first_axes: tuple[tuple[int, ...], int, int]  # batch, own, summed
    second_axes: tuple[tuple[int, ...], int, int]
    made_axes: tuple[tuple[int, ...], int, int]  # batch, rows, columns
    in_order: bool  # the rows are the first factor's
    added: bool = False

    def ordered(self) -> tuple[Tensor, Tensor]:
        """(heads, m, c) and (heads, c, k)"""
        sides = [(self.first, self.first_axes), (self.second, self.second_axes)]
        (left, left_axes), (right, right_axes) = sides if self.in_order else sides[::-1]
        batch, own, summed = left_axes
        left = left.permute(*batch, own, summed)
        batch, own, summed = right_axes
        right = right.permute(*batch, summed, own)
        heads = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        left, right = (x.expand(*heads, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (left, right))
        return left, right

    def canonical(self, made: Tensor) -> Tensor:
        """(heads, m, k)"""
        batch, rows, columns = self.made_axes
        made = made.permute(*batch, rows, columns)
        return made.reshape(-1, *made.shape[-2:])


def _factors(name: str, args: tuple, kwargs: Any) -> _Pair | None:
    """None where it is no product of two matrices, or of two batches of them."""
    if name == "einsum":
        return _of_equation(*args)
    added = name == "baddbmm"
    given = [*args, *(kwargs[key] for key in _FACTORS if key in kwargs)][added:]
    if len(given) < 2 or not all(isinstance(x, Tensor) and x.ndim >= 2 for x in given[:2]):
        return None
    first, second = given[:2]
    most = max(first.ndim, second.ndim)

    def axes(ndim: int, own: int, summed: int) -> tuple[tuple[int, ...], int, int]:
        return tuple(range(ndim - 2)), ndim + own, ndim + summed

    placed = axes(first.ndim, -2, -1), axes(second.ndim, -1, -2), axes(most, -2, -1)
    return _Pair(first, second, *placed, in_order=True, added=added)


def _of_equation(equation: Any, *operands: Any) -> _Pair | None:
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2 or equation.count(",") != 1 or "->" not in equation:
        return None
    given, made = equation.replace(" ", "").split("->")
    spelled = [_spelled(labels, x.ndim) for labels, x in zip(given.split(","), operands, strict=True)]
    first, second = spelled
    made = made.replace("...", max(re.sub("[^0-9]", "", labels) for labels in spelled))
    batch = [label for label in made if label in first and label in second]
    summed = [label for label in first if label in second and label not in made]
    own = [label for label in made if label not in batch]
    if len(summed) != 1 or len(own) != 2 or (own[0] in first) == (own[1] in first):
        return None
    in_order = own[0] in first

    def axes(labels: str, of: str) -> tuple[tuple[int, ...], int, int]:
        return tuple(labels.index(label) for label in batch), labels.index(of), labels.index(summed[0])

    mine, other = own if in_order else own[::-1]
    placed = tuple(made.index(label) for label in batch), made.index(own[0]), made.index(own[1])
    return _Pair(*operands, axes(first, mine), axes(second, other), placed, in_order)


def _spelled(labels: str, axes: int) -> str:
    """Digits in the place of an ellipsis, whose last axes are those of the others' too."""
    hidden = axes - len(labels.replace("...", ""))
    return labels.replace("...", "9876543210"[10 - hidden :])


def _widened(leaf: Any) -> Any:
    return _of_kind(leaf, torch.float32) if isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16 else leaf


def _of_kind(leaf: Any, kind: torch.dtype) -> Any:
    return leaf.to(kind) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf
