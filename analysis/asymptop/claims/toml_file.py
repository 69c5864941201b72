"""Files of claims: the package's own (of exact top-k, and of other selectors), and a user's (`report --claims FILE`).
entry.py says what an entry may hold.

    [[claim]]
    id = "X-half"
    sentence = "The relative output error falls like k^(-1/2)."
    source = "our draft, lemma 3"
    quantity = "output_error_relative"
    sense = "equal"
    exponent = "-C/2"
    phases = ["constant"]

Keys that several claims share stand in a `[family.NAME]`, and `family = "NAME"` takes them over.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..criteria.verdicts import Claim
from .entry import ClaimsError, claim_of

__all__ = ["BUILTIN", "CLAIMS", "SELECTOR_CLAIMS", "ClaimsError", "claims_in", "read_claims"]

BUILTIN = Path(__file__).with_name("builtin.toml")
OF_SELECTORS = Path(__file__).with_name("selectors.toml")
OF_MEASURED = Path(__file__).with_name("measured.toml")


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ClaimsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimsError(f"{path}: not a TOML file ({error})") from error


def _with_family(entry: dict[str, Any], families: dict[str, Any], where: str) -> dict[str, Any]:
    """The entry with what its family says where it says nothing itself."""
    name = entry.get("family")
    if name is None:
        return entry
    if not isinstance(name, str) or not isinstance(families.get(name), dict):
        allowed = f"allowed are {', '.join(families)}" if families else "the file has no [family.NAME]"
        raise ClaimsError(f"{where} ({entry.get('id')}): family is {name!r}, {allowed}")
    return families[name] | entry


def claims_in(path: Path, taken: Collection[str] = ()) -> tuple[Claim, ...]:
    """The claims of a file, in its order; `taken` are ids that it may not use. Raises ClaimsError."""
    document = _document(path)
    entries, families = document.get("claim"), document.get("family", {})
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise ClaimsError(f"{path}: there is no [[claim]]")
    if not isinstance(families, dict):
        raise ClaimsError(f"{path}: family is no table, write [family.NAME]")
    claims = []
    seen = set(taken)
    for i, entry in enumerate(entries, start=1):
        where = f"{path}: claim {i}"
        claim = claim_of(_with_family(entry, families, where), where)
        if claim.id in seen:
            raise ClaimsError(f"{path}: id '{claim.id}' is taken by another claim")
        seen.add(claim.id)
        claims.append(claim)
    return tuple(claims)


CLAIMS = claims_in(BUILTIN)
# Judged where a file has such cases.
SELECTOR_CLAIMS = claims_in(OF_SELECTORS, {claim.id for claim in CLAIMS})
MEASURED_CLAIMS = claims_in(OF_MEASURED, {claim.id for claim in (*CLAIMS, *SELECTOR_CLAIMS)})


def read_claims(path: str | Path) -> tuple[Claim, ...]:
    """A user's claims, in the order of the file. Raises ClaimsError."""
    return claims_in(Path(path), {claim.id for claim in (*CLAIMS, *SELECTOR_CLAIMS, *MEASURED_CLAIMS)})
