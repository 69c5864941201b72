"""The rooms of the analysis package: imports run along one order, rooms stay small and shallow.

`python3 tests/support/check_rooms.py [package]` prints what is wrong, one line each, and exits 1 if anything is.
A line `room: modules, floors` is printed for every room where nothing is.
"""

from __future__ import annotations

import ast
import pathlib
import sys

from import_graph import cycles

# A room may import rooms further left.
ROOMS = [
    *("theory", "io", "tensors", "weights", "layers", "capture", "fits", "criteria", "claims", "figures", "report"),
    "commands",
]
ORDER = f"imports run up {' < '.join(ROOMS)}"
MOST_MODULES, MOST_FLOORS = 15, 5

Graph = dict[str, set[str]]  # module by its path in the package, as "io.reader", to what it imports


def modules(package: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every module of the package by its dotted name within it; a package stands for its __init__.py."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(package: pathlib.Path, path: pathlib.Path, known: dict[str, pathlib.Path]) -> list[tuple[int, str]]:
    """Line and module of every import from the package itself, within functions too."""
    here = [package.name, *path.relative_to(package).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [(node.lineno, [*base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(node.lineno, alias.name.split(".")) for alias in node.names]
        else:
            continue
        for line, parts in names:
            if parts[0] == package.name:
                inner = parts[1:]
                while inner and ".".join(inner) not in known:  # a name of a module, no module itself
                    inner = inner[:-1]
                found.append((line, ".".join(inner)))
    return found


def floors(graph: Graph) -> dict[str, int]:
    """On which floor a module stands: 1 where it imports none of the graph, else one above the highest that it does."""
    found: dict[str, int] = {}

    def floor(node: str) -> int:
        if node not in found:
            found[node] = 1 + max((floor(target) for target in graph[node] if target in graph), default=0)
        return found[node]

    for node in graph:
        floor(node)
    return found


def room_of(module: str) -> str:
    return module.split(".")[0] if "." in module else ""


def check(package: pathlib.Path) -> tuple[list[str], list[str]]:
    """What is wrong, and the size of every room."""
    known = modules(package)
    errors: list[str] = []
    graph: Graph = {}
    for name, path in known.items():
        where = path.relative_to(package.parent).as_posix()
        room = name if path.name == "__init__.py" else room_of(name)
        depth = len(path.relative_to(package).parts)
        if room and (room not in ROOMS or depth > 2):
            errors.append(f"{where}: {path.parent.relative_to(package).as_posix()}/ is no room of {package.name}")
            continue
        if not room and name not in ("", "__main__"):
            errors.append(f"{where}: a module belongs in a room")
            continue
        graph[name] = set()
        for line, target in imported(package, path, known):
            graph[name].add(target)
            target_room = target.split(".")[0]
            # The package's front and its command line stand above all rooms.
            if room and (not target_room or (target_room in ROOMS and ROOMS.index(target_room) > ROOMS.index(room))):
                errors.append(f"{where}:{line}: {room} may not import {target or package.name}; {ORDER}")
    errors += (circles := [f"imports run in a circle: {cycle}" for cycle in cycles(graph)])
    sizes = []
    for room in ROOMS:
        inside = {name: targets for name, targets in graph.items() if room_of(name) == room}
        if len(inside) > MOST_MODULES:
            errors.append(f"{room}: {len(inside)} modules, over {MOST_MODULES}")
        if inside and not circles:
            highest = max((height, name) for name, height in floors(inside).items())
            if highest[0] > MOST_FLOORS:
                errors.append(f"{room}: {highest[1]} stands on floor {highest[0]} of imports, over {MOST_FLOORS}")
            sizes.append(f"{room}: {len(inside)} modules, {highest[0]} floors")
    return errors, sizes


if __name__ == "__main__":
    problems, told = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "analysis/asymptop"))
    print("\n".join(problems or told))
    sys.exit(1 if problems else 0)
