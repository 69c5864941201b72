"""The grammar of laws, that of the asymptop program (src/config/law.cpp): a text is taken by both or by neither.

Names, functions, numbers, + - * / ^ and parentheses, in ASCII. A number is digits with at most one point and an
exponent, leading zeros allowed; a sign may stand before any operand, but not two; ( follows its function at once.
Values are the same to the last digit: arithmetic is that of IEEE doubles, where 1/0 is infinite and 2^-(1/0) is 0.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Collection

import numpy as np

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TOKEN = re.compile(
    r"(?P<blank>[ \t\n\v\f\r]+)"
    rf"|(?P<number>{_NUMBER})"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<sign>[-+*/^(),])"
)
LONGEST = 256
DEEPEST = 50


class LawError(ValueError):
    """The text is not a law, or has no finite value at n."""


def parse(text: str, names: Collection[str], functions: Collection[str], commas: bool = False) -> ast.expr:
    """The expression as a tree of names, calls, constants, unary and binary operators. Raises LawError.

    `commas`: functions may have several arguments, which no law of the program has.
    """
    shown = "\\n".join(text[:LONGEST].splitlines())
    if len(text.encode("utf-8", "surrogateescape")) > LONGEST:
        raise LawError(f"'{shown[:40]}...' is longer than {LONGEST} characters")
    try:
        return ast.parse(" ".join(_words(text, names, functions, commas)), mode="eval").body
    except _NotInGrammarError as why:
        allowed = f"{', '.join(names)}, numbers, + - * / ^, parentheses, {' and '.join(functions)}"
        raise LawError(f"'{shown}' is not a law in n: {why}; a law may hold {allowed} only") from None


class _NotInGrammarError(Exception):
    pass


def _words(text: str, names: Collection[str], functions: Collection[str], commas: bool) -> list[str]:
    """The tokens as Python writes them, once they are known to be an expression."""
    words: list[str] = []
    at, operand, sign = 0, True, False
    calls: list[bool] = []  # of the open parentheses: whether arguments stand in them
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise _NotInGrammarError(f"the character {text[at]!r}")
        at, kind, word = token.end(), token.lastgroup, token[0]
        if kind == "blank":
            continue
        words.append({"^": "**"}.get(word, word))
        if operand and (kind == "number" or word in names):
            operand = False
            if kind == "number":
                value = number(word)
                if value is None:
                    raise _NotInGrammarError(f"a double does not hold {word}")
                words[-1] = repr(value)
        elif operand and word in functions and text[at : at + 1] == "(":
            continue  # the parenthesis is next
        elif operand and word == "(":
            calls.append(len(words) > 1 and words[-2] in functions)
        elif operand and word in "+-" and not sign:
            sign = True
            continue
        elif not operand and word == ")" and calls:
            calls.pop()
        elif not operand and (word in "+-*/^" or (word == "," and commas and calls and calls[-1])):
            operand = True
        else:
            raise _NotInGrammarError(f"'{word}' at character {token.start() + 1}")
        if len(calls) > DEEPEST:
            raise _NotInGrammarError(f"parentheses more than {DEEPEST} deep")
        sign = False
    if operand or calls:
        raise _NotInGrammarError("it ends too early")
    return words


def number(text: str) -> float | None:
    """The value of a number; None where the text is none or no double holds it."""
    if re.fullmatch(_NUMBER, text) is None:
        return None
    value = float(text)
    is_zero = re.fullmatch(r"[0.]*", re.split("[eE]", text)[0]) is not None
    return None if math.isinf(value) or (value == 0.0 and not is_zero) else value


# ---- IEEE arithmetic, where Python raises ------------------------------------------------------------------------


def _ieee(exact: Callable[..., float], otherwise: Callable[..., float]) -> Callable[..., float]:
    def function(*values: float) -> float:
        try:
            return exact(*values)
        except (ArithmeticError, ValueError):
            with np.errstate(all="ignore"):
                return float(otherwise(*map(np.float64, values)))

    return function


IEEE_OPERATORS: dict[type[ast.operator], Callable[..., float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: _ieee(lambda a, b: a / b, np.divide),
    ast.Pow: _ieee(math.pow, np.power),
}
IEEE_FUNCTIONS = {"log": _ieee(math.log, np.log), "sqrt": _ieee(math.sqrt, np.sqrt)}
