"""The house of DESIGN: includes run down the list of rooms only, neither files nor folders include one another in a
circle, kernels stay usable on their own, files stay short.

`python3 tests/support/check_house.py [repository]` prints what is wrong, one line each, and exits 1 if anything is.
"""

import os
import pathlib
import re
import sys

from import_graph import cycles

# A room may include rooms further right, and kernels/. Commands stand on one floor: none knows another.
COMMANDS = ["study", "attend", "bench", "precision"]
BELOW = ["launch", "draw", "results", "row", "comm", "shard", "h5", "plan", "config"]
ROOMS = ["app", *COMMANDS, *BELOW]
FLOOR = {"app": 0} | dict.fromkeys(COMMANDS, 1) | {room: floor for floor, room in enumerate(BELOW, 2)}
ORDER = f"includes run down app > {' | '.join(COMMANDS)} > {' > '.join(BELOW)} > kernels"
KERNELS = "kernels/"
LONGEST_FILE = 420
SOURCES = {".hpp", ".cpp", ".in", ".h", ".cc", ".hh"}
NOT_IN_KERNELS = re.compile(r"^(mpi\.h|hdf5\.h|hdf5_hl\.h|H5.*|iostream|boost/.*|muParser.*|nlohmann/.*)$")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def sources(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SOURCES)


def includes(path: pathlib.Path) -> list[tuple[int, str, bool]]:
    """Line number, included name, and whether it is one of the project's own files."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            found.append((number, match[1] or match[2], match[1] is not None))
    return found


def check(root: pathlib.Path) -> list[str]:
    src, kernels = root / "src", root / "kernels"
    errors = []
    graph: dict[str, set[str]] = {}
    for base in (src, kernels):
        for path in sources(base):
            name = path.relative_to(base).as_posix()
            where = path.relative_to(root).as_posix()
            room = name.split("/")[0]
            length = len(path.read_text().splitlines())
            if length > LONGEST_FILE:
                errors.append(f"{where}: {length} lines, over {LONGEST_FILE}")
            if base == src and room not in ROOMS:
                errors.append(f"{where}: {room}/ is no room of src/")
                continue
            for line, target, own in includes(path):
                if base == kernels and NOT_IN_KERNELS.match(target):
                    errors.append(f"{where}:{line}: kernels/ may not include {target}")
                if not own:
                    continue
                if base == kernels:  # which find one another by their place
                    target = os.path.relpath(path.parent / target, root)
                graph.setdefault(KERNELS * (base == kernels) + name, set()).add(target)
                target_room = target.split("/")[0]
                if target.startswith(KERNELS):
                    if not (kernels / target.removeprefix(KERNELS)).is_file():
                        errors.append(f"{where}:{line}: {target} is no header of kernels/")
                    continue
                if base == kernels:
                    errors.append(f"{where}:{line}: kernels/ may not include {target} of src/")
                elif target_room not in ROOMS:
                    errors.append(f"{where}:{line}: {target} is in no known room")
                elif target_room != room and FLOOR[target_room] <= FLOOR[room]:
                    errors.append(f"{where}:{line}: {room} may not include {target}; {ORDER}")
    folders: dict[str, set[str]] = {}
    for name, targets in graph.items():
        here = os.path.dirname(name)
        folders.setdefault(here, set()).update({os.path.dirname(target) for target in targets} - {here})
    for edges in (graph, folders):
        errors += [f"includes run in a circle: {cycle}" for cycle in cycles(edges)]
    return errors


if __name__ == "__main__":
    problems = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(problems) if problems else "includes and file lengths are in order")
    sys.exit(1 if problems else 0)
