"""What the checks of both houses, C++ and Python, ask of a graph of imports."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def cycles(graph: Mapping[str, Collection[str]]) -> list[str]:
    """One cycle per edge that closes one in a walk through all, as text."""
    found: list[str] = []
    state: dict[str, str] = {}
    path: list[str] = []

    def visit(node: str) -> None:
        state[node] = "open"
        path.append(node)
        for target in sorted(graph.get(node, ())):
            if state.get(target) == "open":
                found.append(" -> ".join([*path[path.index(target) :], target]))
            elif target not in state:
                visit(target)
        path.pop()
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            visit(node)
    return found
