"""A site: how jobs are asked for on one cluster. jobs/sites/README.md says what the keys mean.

The file is KEY=VALUE lines and comments, as a shell would read them. It is read, never executed.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from .errors import JobsError

FOLDER = Path(__file__).resolve().parents[1] / "sites"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
LOCKING = ("TRUE", "FALSE", "BEST_EFFORT")


@dataclass(frozen=True)
class Site:
    """Every key, None or empty where the file is silent. Names are the keys' in lower case."""

    name: str = "site"
    scheduler: str = "slurm"
    account: str = ""
    partition: str = ""
    qos: str = ""
    constraint: str = ""
    sbatch_options: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    launcher: str = "srun"
    launcher_options: tuple[str, ...] | None = None
    cores_per_node: int | None = None
    memory_per_node: int | None = None
    ranks_per_node: int | None = None
    gpus_per_node: int | None = None
    gpu_bind: str = ""
    max_nodes: int | None = None
    max_time: int | None = None
    max_array_size: int | None = None
    array_limit: int | None = None
    hdf5_file_locking: str = ""
    scratch: str = ""
    binary: str = ""


def parse_bytes(what: str, text: str) -> int:
    """`256G`, `512000M`: bytes, with powers of 1000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text)
    if not match or float(match[1]) <= 0:
        raise JobsError(f"{what} is '{text}', allowed is a size such as 256G")
    return int(float(match[1]) * UNITS[match[2]])


def parse_seconds(what: str, text: str) -> int:
    """Slurm's forms: minutes, `M:SS`, `H:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise JobsError(f"{what} is '{text}', allowed is a time of Slurm such as 90, 12:00:00 or 2-00:00:00")
    days, parts = int(match[1] or 0), [int(part) for part in match.groups()[1:] if part is not None]
    if match[1] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, parts[0], (*parts, 0)[1]
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise JobsError(f"{what} is '{text}', allowed is more than nothing")
    return total


def parse_count(what: str, text: str, low: int = 1, high: int = 10**7) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
        raise JobsError(f"{what} is '{text}', allowed is a whole number from {low} to {high}")
    return int(text)


def _choice(what: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise JobsError(f"{what} is '{text}', allowed are {', '.join(allowed)}")
    return text


def _words(what: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise JobsError(f"{what} is '{text}': {str(error).lower()}") from error


def home_opened(what: str, text: str) -> str:
    """`~/runs` as a shell reads it, which none does in files, in quotes and after `--output=`."""
    opened = os.path.expanduser(text)
    if text.startswith("~") and opened.startswith("~"):
        raise JobsError(f"{what} is '{text}', of whose user no home is known; ./~ begins a name with a tilde")
    return opened


def user_path(text: str) -> Path:
    return Path(home_opened("a path", text))


def _place(what: str, text: str) -> str:
    """A variable that is not set stays as it is; whoever needs the place says so."""
    return home_opened(what, os.path.expandvars(text))


PARSERS = {
    "scheduler": lambda what, text: _choice(what, text, ("slurm", "none")),
    "sbatch_options": _words,
    "modules": _words,
    "launcher": lambda what, text: _choice(what, text, ("srun", "mpirun")),
    "launcher_options": _words,
    **dict.fromkeys(
        ("cores_per_node", "ranks_per_node", "gpus_per_node", "max_nodes", "array_limit"),
        parse_count,
    ),
    "max_array_size": lambda what, text: parse_count(what, text, low=2),
    "memory_per_node": parse_bytes,
    "max_time": parse_seconds,
    "hdf5_file_locking": lambda what, text: _choice(what, text, LOCKING),
    "scratch": _place,
    "binary": _place,
}
KEYS = tuple(name for name in Site.__dataclass_fields__ if name != "name")


# A quoted part, whose quote follows no letter or digit (else it is an apostrophe); or a comment, at the start or after
# a blank.
PARTS = re.compile(r"""(?<![^\W_])('[^']*'|"[^"]*")|((?:^|(?<=\s))\#.*)|.""", re.DOTALL)


def parse_value(text: str) -> str:
    """Without a comment, and without quotes around the whole."""
    parts = []
    for part in PARTS.finditer(text.strip()):
        if part[2]:
            break
        parts.append(part[0])
    value = "".join(parts).strip()
    whole = PARTS.fullmatch(value)
    return value[1:-1] if whole and whole[1] else value


def read_text(path: Path) -> tuple[str, str]:
    """Of a file in any of the encodings that editors write; and what is to be said of it."""
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding), ""
    except UnicodeDecodeError as error:
        line = data.count(10, 0, error.start) + 1
        return data.decode("latin-1"), f"note: {path}:{line} is not UTF-8; the file is read as Latin-1"


def parse_site(name: str, text: str, where: str) -> Site:
    values: dict[str, object] = {}
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key, value = re.sub(r"^export\s+", "", key).strip(), parse_value(value)
        if not equals:
            raise JobsError(f"{where}:{number}: {line[:60]!r} is not KEY=VALUE")
        field = key.lower()
        if key != key.upper() or field not in KEYS:
            known = ", ".join(KEYS).upper()
            raise JobsError(f"{where}:{number}: unknown key {key[:60]!r}; known are {known}")
        if field in values:
            raise JobsError(f"{where}:{number}: {key} is given twice")
        if unfit := re.search(r"[\0-\x08\x0b-\x1f\x7f]", value):
            raise JobsError(f"{where}:{number}: {key} has the control character {unfit[0]!r}")
        parse = PARSERS.get(field)
        values[field] = None if not value else parse(f"{where}:{number}: {key}", value) if parse else value
    given = {field: value for field, value in values.items() if value is not None}
    if given.get("scheduler") == "none" and given.setdefault("launcher", "mpirun") == "srun":
        raise JobsError(f"{where}: LAUNCHER is srun, which needs Slurm; with SCHEDULER=none it is mpirun")
    return Site(name=name, **given)


def read_site(name: str) -> Site:
    """The site of that name in jobs/sites, or a file of that path."""
    path = FOLDER / f"{name}.env"
    if not re.fullmatch(r"[\w.-]+", name) or not path.is_file():
        path = Path(home_opened("--site", name))
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.env")))
        raise JobsError(f"--site is '{name}', allowed are {known}, or the path of a file")
    text, note = read_text(path)
    site = parse_site(path.stem, text, str(path))
    if note:
        print(note)
    return site
