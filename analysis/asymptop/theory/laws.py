"""Laws: expressions in n such as `400`, `4*n^0.5` or `2*sqrt(log(n))`, for k and for sigma.

The grammar (law_grammar.py) is that of the asymptop program: n, numbers, + - * / ^, parentheses, log (natural), sqrt.
What a law does as n grows (a power of n, a power of log n) is found from its values, so every spelling of
the same law is recognised.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .law_grammar import IEEE_FUNCTIONS, IEEE_OPERATORS, LawError, parse

_PROBES = tuple(2.0**e for e in (8, 14, 20, 26, 32, 40))
_OPERATORS: dict[type[ast.operator], Callable] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


@dataclass(frozen=True)
class PowerLaw:
    """prefactor * n^exponent."""

    prefactor: float
    exponent: float


@dataclass(frozen=True)
class Regime:
    """How sigma grows: kind is constant, sqrt_log, log, measured or other; sigma = coefficient * its shape."""

    kind: str
    coefficient: float = math.nan

    @property
    def words(self) -> str:
        return {
            "constant": "constant σ",
            "sqrt_log": "σ = c·√(log n)",
            "log": "σ = c·log n",
            "measured": "σ as measured",
        }.get(self.kind, "another law of σ")

    @property
    def phase(self) -> str:
        """The regime as far as it decides a claim: c√(log n) freezes at c = √2."""
        if self.kind != "sqrt_log":
            return self.kind
        if math.isclose(self.coefficient, math.sqrt(2.0), rel_tol=1e-3):
            return "critical"
        return "below" if self.coefficient < math.sqrt(2.0) else "above"


# Phases in the order of growing sigma, with the words for a column of a table.
PHASES = {
    "constant": "constant σ",
    "below": "c√(log n), c < √2",
    "critical": "c√(log n), c = √2",
    "above": "c√(log n), c > √2",
    "log": "c·log n",
    "measured": "real σ",
    "other": "other σ",
}


def _value(
    node: ast.expr,
    names: Mapping[str, float],
    functions: Mapping[str, Callable],
    operators: Mapping[type[ast.operator], Callable],
) -> float:
    def value(part: ast.expr) -> float:
        return _value(part, names, functions, operators)

    match node:
        case ast.Constant(value=float(number)):
            return number
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand)
        case ast.UnaryOp(operand=operand):
            return value(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return operators[type(operator)](value(left), value(right))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return functions[name](*map(value, arguments))
    raise LawError("not a law")


def _arity(function: Callable) -> int:
    return function.nin if isinstance(function, np.ufunc) else len(inspect.signature(function).parameters)


def formula(text: str, names: Sequence[str], functions: Mapping[str, Callable]) -> Callable[..., float]:
    """A function of the names, in their order, from an expression in them. Raises LawError now, not when called."""
    node = parse(text, names, functions, commas=True)
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            wanted = _arity(functions[call.func.id])
            if len(call.args) != wanted:
                raise LawError(f"{call.func.id} takes {wanted} argument{'s' if wanted > 1 else ''}")

    def value(*values: float) -> float:
        return _value(node, dict(zip(names, values, strict=True)), functions, _OPERATORS)

    return value


@cache
def _law(text: str) -> ast.expr:
    return parse(text, ("n",), IEEE_FUNCTIONS)


def is_law(text: str) -> bool:
    try:
        _law(text)
    except LawError:
        return False
    return True


def evaluate(law: str, n: float) -> float:
    """Value of the law at n. Raises LawError."""
    value = _value(_law(law), {"n": float(n)}, IEEE_FUNCTIONS, IEEE_OPERATORS)
    if not math.isfinite(value):
        raise LawError(f"'{law}' has no finite value at n = {n:g}")
    return value


def _power_of(law: str, base: list[float]) -> PowerLaw | None:
    """The power of `base` that equals the law at every probe, if there is one."""
    try:
        values = [evaluate(law, n) for n in _PROBES]
    except LawError:
        return None
    if min(values) <= 0:
        return None
    exponent = math.log(values[-1] / values[0]) / math.log(base[-1] / base[0])
    powers = [IEEE_OPERATORS[ast.Pow](b, exponent) for b in base]
    if not all(0.0 < power < math.inf for power in powers):
        return None
    prefactor = values[0] / powers[0]
    if all(math.isclose(v, prefactor * power, rel_tol=1e-9) for v, power in zip(values, powers, strict=True)):
        return PowerLaw(prefactor, exponent)
    return None


def power_law(law: str) -> PowerLaw | None:
    """(prefactor, exponent) when the law is a power of n, a constant included; None otherwise."""
    return _power_of(law, list(_PROBES))


def same(law: str, other: str) -> bool:
    """Whether two texts are one law: 4*n^0.5 and n^(1/2)*4."""
    if law.strip() == other.strip():
        return True
    try:
        return all(math.isclose(evaluate(law, n), evaluate(other, n), rel_tol=1e-9) for n in _PROBES)
    except LawError:
        return False


def regime_of(sigma_law: str, sigma: float, n: float) -> Regime:
    """Regime of a sigma law; sigma, its value at n, fixes the coefficient (a law of R differs by the scale)."""
    if sigma_law == "measured":
        return Regime("measured")
    power = _power_of(sigma_law, [math.log(n) for n in _PROBES])
    shapes = {0.0: "constant", 0.5: "sqrt_log", 1.0: "log"}
    exponent = None if power is None else round(power.exponent, 6)
    if exponent in shapes and n > 1:
        return Regime(shapes[exponent], sigma / math.log(n) ** exponent)
    return Regime("other")


def _tex(node: ast.expr, parent: int = 0) -> str:
    match node:
        case ast.Constant(value=float(number)):
            return f"{number:g}"
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument]):
            return rf"\sqrt{{{_tex(argument)}}}"
        case ast.Call(func=ast.Name(id="log"), args=[ast.Name(id="n")]):
            return r"\log n"
        case ast.Call(func=ast.Name(id="log"), args=[argument]):
            return rf"\log({_tex(argument)})"
        case ast.BinOp(left=ast.Call(func=ast.Name(id="log"), args=[argument]), op=ast.Pow(), right=right):
            return rf"\log^{{{_tex(right)}}}{_tex(argument)}"
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return rf"{_tex(left, 3)}^{{{_tex(right)}}}"
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            text = rf"{_tex(left, 2)}\,{_tex(right, 2)}"
            return f"({text})" if parent > 2 else text
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            text = rf"{_tex(left, 2)}/{_tex(right, 3)}"
            return f"({text})" if parent > 1 else text
        case ast.BinOp(left=left, op=operator, right=right):
            sign = "+" if isinstance(operator, ast.Add) else "-"
            text = f"{_tex(left, 1)}{sign}{_tex(right, 2)}"
            return f"({text})" if parent > 1 else text
        case ast.UnaryOp(operand=operand):
            return f"-{_tex(operand, 3)}"
    raise LawError("not a law")


def to_tex(law: str) -> str:
    """The law for a plot's label, as mathtext; text that is no law stays as it is, its dollar signs escaped."""
    try:
        evaluate(law, 2.0**20)
        return f"${_tex(_law(law))}$"
    except LawError:
        return law.replace("$", r"\$")
