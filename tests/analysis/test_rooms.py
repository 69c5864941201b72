"""The rooms of the analysis package stand, and the check finds what is put in their way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from check_rooms import MOST_FLOORS, MOST_MODULES, ROOMS, check

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "analysis" / "asymptop"


def problems(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = folder / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check(folder / "package")[0]


def test_rooms_stand() -> None:
    found, sizes = check(PACKAGE)
    assert found == []
    assert len(sizes) == len(ROOMS)
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


def test_readme_has_every_module() -> None:
    text = (ROOT / "analysis" / "README.md").read_text(encoding="utf-8")
    named = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for room in ROOMS:
        modules = [name for name in named if name.startswith(f"{room}/") and not name.endswith("__init__.py")]
        assert [name for name in modules if f"`{Path(name).stem}`" not in rows[f"{room}/"]] == []


def test_imports_along_the_order_are_allowed(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from .commands import weights\n",
        "io/__init__.py": "",
        "io/reader.py": "import numpy\nfrom . import seal\nfrom ..theory.laws import Law\n",
        "io/seal.py": "",
        "theory/laws.py": "class Law: ...\n",
        "commands/weights.py": "import package.io.reader\nfrom package.theory import laws\n",
    }
    assert problems(tmp_path, files) == []


@pytest.mark.parametrize(
    "text",
    [
        "from ..fits.lines import Line\n",
        "from ..fits import lines\n",
        "from .. import fits\n",
        "import package.fits.lines\n",
        "from package.fits.lines import Line as Other\n",
        "def late():\n    from ..fits import lines\n",
        "from .. import __version__\n",
    ],
)
def test_import_against_the_order_is_found(tmp_path: Path, text: str) -> None:
    files = {"fits/__init__.py": "", "fits/lines.py": "", "io/reader.py": text, "__init__.py": ""}
    (error,) = problems(tmp_path, files)
    assert error.startswith("package/io/reader.py:")
    assert "io may not import" in error


def test_cycle_is_found(tmp_path: Path) -> None:
    files = {
        "io/a.py": "from .b import x\n",
        "io/b.py": "def late():\n    from . import c\n",
        "io/c.py": "import package.io.a\n",
    }
    assert problems(tmp_path, files) == ["imports run in a circle: io.a -> io.b -> io.c -> io.a"]


def test_crowded_room_is_found(tmp_path: Path) -> None:
    files = {f"io/m{i}.py": "" for i in range(MOST_MODULES)}
    assert problems(tmp_path, {"io/__init__.py": "", **files}) == []
    assert problems(tmp_path, {"io/one_more.py": ""}) == [f"io: {MOST_MODULES + 1} modules, over {MOST_MODULES}"]


def test_high_room_is_found(tmp_path: Path) -> None:
    files = {f"io/m{i}.py": f"from .m{i - 1} import x\n" if i else "" for i in range(MOST_FLOORS)}
    assert problems(tmp_path, files) == []
    (error,) = problems(tmp_path, {"io/top.py": f"from . import m{MOST_FLOORS - 1}\n"})
    assert error == f"io: io.top stands on floor {MOST_FLOORS + 1} of imports, over {MOST_FLOORS}"


def test_module_outside_the_rooms_is_found(tmp_path: Path) -> None:
    files = {"loose.py": "", "shed/a.py": "", "io/deep/a.py": ""}
    assert sorted(problems(tmp_path, files)) == [
        "package/io/deep/a.py: io/deep/ is no room of package",
        "package/loose.py: a module belongs in a room",
        "package/shed/a.py: shed/ is no room of package",
    ]


@pytest.mark.parametrize("words", [["--help"], ["unknown"], ["weights", "--help"]])
def test_a_command_imports_what_it_needs(words: list[str]) -> None:
    """matplotlib belongs to figures alone, and what only lists the commands needs no numpy."""
    code = (
        "import sys\nfrom asymptop.__main__ import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print(*(name for name in ('numpy', 'scipy', 'h5py', 'matplotlib') if name in sys.modules), file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    loaded = done.stderr.splitlines()[-1].split()
    assert "matplotlib" not in loaded
    if words[0] != "weights":
        assert loaded == []
