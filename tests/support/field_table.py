"""Fields of query rows as readers of results files are told of them: the table on the schema's page, which
`tests/results/test_fields.cpp` holds to the program's own. A new field is in tests that read it here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "src" / "results" / "README.md"
_LINE = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<dimensions>draw, row(, \w+)?) \| [^|]* \| (?P<recorded>yes)? ?\| (?P<content>.*) \|$"
)


@dataclass(frozen=True)
class Field:
    name: str
    dimensions: tuple[str, ...]
    recorded: bool


def fields_of_a_study() -> list[Field]:
    """Of synthetic keys and exact top-k, with output errors, where all k are held."""
    text = PAGE.read_text(encoding="utf-8").split("Fields of query rows", 1)[1].split("\nSimulated rows", 1)[0]
    found = []
    for line in filter(None, map(_LINE.match, text.splitlines())):
        if "Only " not in line["content"].replace("Only with output errors on", ""):
            found.append(Field(line["name"], tuple(line["dimensions"].split(", ")), line["recorded"] is not None))
    return found
