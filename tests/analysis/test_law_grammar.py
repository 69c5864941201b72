"""Laws and sizes are read alike by the program and by this package: random texts, valid and not, are put to both."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from asymptop.theory import laws, sizes

BUILD = Path(os.environ.get("ASYMPTOP_BINARY", Path(__file__).resolve().parents[2] / "build/release/asymptop")).parent
SEED = int(os.environ.get("ASYMPTOP_TEST_SEED") or random.randrange(1 << 30))
NS = (1, 2, 3, 64, 1000, 4096, 2**20 + 1, 10**9, 2**48)
MOSTS = (1 << 62, 1 << 48, 1 << 30, 4096)
NOISE = [
    *"0123456789nnn+-*/^()().eE ,_xkKMGTi\t\n\r\v#!=;:&|<>?'\"[]{}%$@~`\\",
    *("log", "sqrt", "log(", "sqrt (", "**", "1e", "é", "１", "ｎ", "²", "\0", "N", "pi", "_e", "inf", "nan", "0x1"),
    *("1_0", "−", "\u00a0", "\u2028", "if", "n else n", "lambda", "None", "1j", "n.real", "٣"),
]


@pytest.fixture(scope="module")
def program() -> Path:
    path = BUILD / "parsed_texts"
    if not path.is_file():
        pytest.skip(f"{path} is not built")
    print(f"ASYMPTOP_TEST_SEED={SEED}")
    return path


def answers(program: Path, requests: Sequence[str], locale: str = "C") -> list[str]:
    environment = os.environ | {"LC_ALL": locale}
    done = subprocess.run(
        [program], input="".join(f"{r}\n" for r in requests), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.removesuffix("\n").split("\n")
    assert len(found) == len(requests), "every answer is one line"
    return found


def as_word(text: str) -> str:
    return "x" + text.encode().hex()


def mutated(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        noise = rng.choice(NOISE)
        text = rng.choice(
            (text[:at] + noise + text[at:], text[:at] + text[at + 1 :], text[:at] + noise + text[at + 1 :])
        )
    return text


def number(rng: random.Random) -> str:
    forms = (
        lambda: str(rng.randint(0, 70)),
        lambda: "0" * rng.randint(1, 3) + str(rng.randint(0, 99)),
        lambda: f"{rng.uniform(0, 9):.3g}",
        lambda: f".{rng.randint(0, 99)}",
        lambda: f"{rng.randint(0, 9)}.",
        lambda: f"{rng.randint(1, 9)}e{rng.randint(-330, 330)}",
        lambda: f"{rng.randint(1, 9)}.{rng.randint(0, 9)}E{rng.choice(['', '+', '-'])}{rng.randint(0, 12):02d}",
        lambda: "1" * rng.randint(1, 40),
        lambda: str(rng.random()),
    )
    return rng.choice(forms)()


def expression(rng: random.Random, depth: int) -> str:
    blank = rng.choice(("", "", "", " ", "\t", " \n"))
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(("n", "n", number(rng)))
    kind = rng.random()
    if kind < 0.5:
        return f"{expression(rng, depth - 1)}{blank}{rng.choice('+-*/^')}{blank}{expression(rng, depth - 1)}"
    if kind < 0.65:
        return f"({blank}{expression(rng, depth - 1)}{blank})"
    if kind < 0.8:
        return f"{rng.choice(('log', 'sqrt'))}({expression(rng, depth - 1)})"
    return rng.choice("+-") + expression(rng, depth - 1)


def law_here(text: str) -> list[float | None] | None:
    """Its value at each n where it is positive and finite, None where it is not; None where the text is no law."""
    found: list[float | None] = []
    for n in NS:
        try:
            value = laws.evaluate(text, n)
        except laws.LawError:
            value = 0.0
        found.append(value if value > 0.0 else None)
    if not any(found) and not is_law(text):
        return None
    return found


def is_law(text: str) -> bool:
    try:
        laws.parse(text, ("n",), laws.IEEE_FUNCTIONS)
    except laws.LawError:
        return False
    return True


def law_there(answer: str) -> list[float | None] | None:
    if answer.startswith("refused "):
        return None
    return [None if word == "none" else float.fromhex(word) for word in answer.split()]


# As people write them, and the value at n = 64: None where there is none, "refused" where the text is no law.
LAWS = {
    "064": 64.0, "0": None, "00.5": 0.5, "1e400": "refused", "1e-400": "refused", "9" * 400: "refused",
    "1e308*10": None, "5e-324": 5e-324, "2e-324": "refused", "0e-999": None, "1/0": None, "1/(1/0)": None,
    "1+1/(1/0)": 1.0, "2^3^2": 512.0, "(2^3)^2": 64.0, "-2^2": None, "-2^2+9": 5.0, "(-2)^2": 4.0, "(-8)^(1/3)": None,
    "2^-1": 0.5, "2*-3": None, "2--3": 5.0, "2---3": "refused", "--3": "refused", "-+3": "refused", "+3": 3.0,
    "n n": "refused", "2n": "refused", "n2": "refused", "n(2)": "refused", "(n)(n)": "refused", "log n": "refused",
    "log (n)": "refused", "log(n)": 4.1588830833596715, "sqrt( n )": 8.0, "n**2": "refused", "n^": "refused",
    "": "refused", " ": "refused", "()": "refused", "1.": 1.0, ".5": 0.5, ".": "refused", "1.e1": 10.0,
    "1..2": "refused", "1e": "refused", "1e+": "refused", "1E2": 100.0, "1e2.5": "refused", "0x10": "refused",
    "0b1": "refused", "1_000": "refused", "1,5": "refused", "1j": "refused", "１": "refused", "٣": "refused",
    "ｎ": "refused", "n²": "refused", "−n": "refused", "n\u00a0": "refused", "n\0": "refused", "n#": "refused",
    "N": "refused", "1k": "refused", "inf": "refused", "nan": "refused", "pi": "refused", "n if n else n": "refused",
    "(lambda: 1)()": "refused", "n\n": 64.0, "\tn\r": 64.0, "(" * 50 + "n" + ")" * 50: 64.0,
    "(" * 51 + "n" + ")" * 51: "refused", "n" + "+n" * 127: 8192.0, "n" + "+n" * 128: "refused", "n^(1/2": "refused",
    "n)": "refused", "1/(n-64)": None,
}  # fmt: skip


def test_laws_as_people_write_them(program: Path) -> None:
    for locale in ("C", "de_DE.UTF-8"):
        found = answers(program, [f"law {as_word(text)} 64" for text in LAWS], locale)
        for (text, right), answer in zip(LAWS.items(), found, strict=True):
            there = law_there(answer)
            assert ("refused" if there is None else there[0]) == right, (text, answer)
    for text, right in LAWS.items():
        value = None
        try:
            value = laws.evaluate(text, 64)
        except laws.LawError:
            assert is_law(text) == (right != "refused"), text
        assert (value if value is not None and value > 0 else None) == (None if right == "refused" else right), text


def test_random_laws(program: Path) -> None:
    rng = random.Random(SEED)
    texts = [expression(rng, rng.randint(0, 5)) for _ in range(12000)]
    texts[::2] = [mutated(rng, text) for text in texts[::2]]
    found = answers(program, [f"law {as_word(text)} {' '.join(map(str, NS))}" for text in texts])
    taken = 0
    for text, answer in zip(texts, found, strict=True):
        there = law_there(answer)
        assert law_here(text) == there, (text, answer)
        taken += there is not None
    assert 3000 < taken < 11000, "valid and invalid ones"


SIZES = {
    "1k": [1000], "1K": [1000], "1M": [10**6], "1G": [10**9], "64Ki": [65536], "1.5Mi": [3 << 19], "1.001k": [1001],
    "2**10": [1024], "2^10": [1024], "1e3": [1000], "1.5e3": [1500], "1024.0": [1024], "1_000": [1000],
    "1_0^2": [100], "1,024": None, "12,100": [12, 100], "01,2": [1, 2], "1024,064": [64, 1024],
    "1,2,064": None, "001,010,100": [1, 10, 100], "064": [64],
    "2^10:2^12": [1024, 2048, 4096], "2^10 : 2^12": [1024, 2048, 4096], "1k:1M:1000": [1000, 10**6],
    "2^10-2^12": None, "2^10..2^12": None, "1024:4096:1024": None, "1024:1024:7": [1024], "1024 2048": None,
    "1024, 2048": [1024, 2048], "1024\t,2048": [1024, 2048], "1024,,2048": None, "1024,": None, "": None,
    "1024;2048": None, "2^10:2^12:x2": None, "4096:1024": None, "0": None, "-5": None, "+5": None, "1": [1],
    "2^62": [1 << 62], "2^63": None, "4611686018427387905": None, "9" * 5000: None, "0" * 5000 + "7": [7],
    "[1024,2048]": None, "１０２４": None, "1.5": None, "1e-3": None, "1m": None, "1b": None, "k": None, "1e3k": None,
    "1 k": None, "1__0": None, "_1": None, "0^0": None, "2^2^2": None, "0x10": None, "1kk": None, "inf": None,
}  # fmt: skip


def size_list_here(text: str, most: int) -> list[int] | None:
    try:
        return sizes.parse_sizes(text, most)
    except sizes.SizeError:
        return None


def size_list_there(answer: str) -> list[int] | None:
    return None if answer.startswith("refused ") else [int(word) for word in answer.split()]


def test_sizes_as_people_type_them(program: Path) -> None:
    found = answers(program, [f"sizes {as_word(text)} {1 << 62}" for text in SIZES])
    for (text, right), answer in zip(SIZES.items(), found, strict=True):
        assert size_list_there(answer) == right, (text, answer)
        assert size_list_here(text, 1 << 62) == right, text


def size(rng: random.Random) -> str:
    forms = (
        lambda: str(rng.randint(0, 9999)),
        lambda: f"{rng.randint(1, 9)}e{rng.randint(-2, 20)}",
        lambda: f"2^{rng.randint(0, 64)}",
        lambda: f"{rng.randint(0, 12)}**{rng.randint(0, 20)}",
        lambda: f"{rng.randint(1, 999)}{rng.choice('kKMGTm')}{rng.choice(['', '', 'i'])}",
        lambda: f"{rng.randint(0, 9)}.{rng.randint(0, 999)}{rng.choice(['k', 'Ki', 'M', '', 'e3', 'e3k'])}",
        lambda: f"{rng.randint(1, 99)}_{rng.randint(0, 999):03d}",
        lambda: f"{rng.randint(0, 99):04d}",
        lambda: str(rng.randint(2**61, 2**63)),
        lambda: "0" * rng.randint(0, 30) + str(rng.randint(1, 99)),
    )
    return rng.choice(forms)()


def size_item(rng: random.Random) -> str:
    blank = rng.choice(("", "", " ", "\t"))
    forms = (
        blank + size(rng) + blank,
        f"{size(rng)}{blank}:{blank}{size(rng)}",
        f"{size(rng)}:{size(rng)}:{rng.choice((size(rng), '3', '9'))}",
    )
    return rng.choice(forms)


def test_random_lists_of_sizes(program: Path) -> None:
    rng = random.Random(SEED)
    texts = [",".join(size_item(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))) for _ in range(8000)]
    texts[::3] = [mutated(rng, text) for text in texts[::3]]
    mosts = [rng.choice(MOSTS) for _ in texts]
    found = answers(program, [f"sizes {as_word(text)} {most}" for text, most in zip(texts, mosts, strict=True)])
    taken = 0
    for text, most, answer in zip(texts, mosts, found, strict=True):
        there = size_list_there(answer)
        assert size_list_here(text, most) == there, (text, most, answer)
        taken += there is not None
    assert 800 < taken < 6000, "valid and invalid ones"
