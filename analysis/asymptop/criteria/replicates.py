"""What the draws of a file are, and so what its errors and intervals are over; and whether there were enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..io.reader import Case

INDEPENDENT = "Draws are independent across n."
SAME_TEXTS = "Draws are texts, the same ones at every n: exponents resample them at all n together."
PLACES = "Draws are contexts that end at places of their own in the texts."


def contexts_of(cases: Sequence[Case]) -> tuple[str, ...]:
    """The kinds of contexts that cases of tensor files have, as --contexts names them."""
    return tuple(sorted({case.contexts for case in cases if case.head >= 0}))


def contexts_words(cases: Sequence[Case]) -> str:
    """` (--contexts starts)`; nothing of made inputs."""
    kinds = contexts_of(cases)
    return f" (--contexts {' and '.join(kinds)})" if kinds else ""


def rows_words(cases: Sequence[Case]) -> str:
    """That draws of prefixes are no replicates of a text; nothing where none are."""
    of_prefixes = [case for case in cases if case.head >= 0 and case.contexts == "prefix"]
    if not of_prefixes:
        return ""
    texts = max(case.texts for case in of_prefixes)
    same, them = ("the same text", "it") if texts == 1 else (f"the same {texts} texts", "them")
    return (
        f"Draws of prefixes are disjoint rows of {same}: errors and intervals are over rows of {them}, not over texts."
    )


def replicates_words(cases: Sequence[Case]) -> str:
    """What draws are, in sentences."""
    kinds = contexts_of(cases)
    made = any(case.head < 0 for case in cases)
    words = (INDEPENDENT * made, SAME_TEXTS * ("starts" in kinds), PLACES * ("places" in kinds), rows_words(cases))
    return " ".join(filter(None, words))


def target_words(cases: Sequence[Case]) -> str:
    """Of how many cases --target-se was not met, and why there are no more draws; nothing where all met theirs."""
    missed = [case.attributes for case in cases if case.attributes.get("target_missed")]
    if not missed:
        return ""
    targets = " and ".join(f"{100.0 * float(share):.4g}%" for share in sorted({one["target_se"] for one in missed}))
    why = Counter(str(one.get("target_ended", "")) for one in missed)
    reasons = "; ".join(f"in {count} {reason}" if len(why) > 1 else reason for reason, count in why.items() if reason)
    ending = f": {reasons}" if reasons else ""
    return f"--target-se {targets} was not met in {len(missed)} of {len(cases)} cases{ending}."
