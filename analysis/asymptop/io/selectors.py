"""Selectors of a file: the lines of each beside those of exact top-k over the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..theory.costs import Costs, costs_of, order_of
from .reader import Case
from .schema import EXACT
from .series import Panel, Series, group_panels, rows_of


@dataclass(frozen=True)
class SelectorGroup:
    """One law of sigma, or all heads of a tensor file: exact top-k and every selector, each over the same rows."""

    title: str  # for figures
    words: str  # for tables
    exact: tuple[Series, ...]
    others: dict[str, tuple[Series, ...]]

    @property
    def lines(self) -> dict[str, tuple[Series, ...]]:
        """Exact top-k first, where the file has it."""
        return ({EXACT: self.exact} if self.exact else {}) | self.others

    @cached_property
    def _members(self) -> tuple[Series, ...]:
        return tuple(series for members in self.lines.values() for series in members)

    @property
    def synthetic(self) -> bool:
        return self._members[0].synthetic

    @property
    def d(self) -> int:
        return self._members[0].first.d

    @property
    def d_v(self) -> int:
        """Columns of V, where they are not d; else 0."""
        return self._members[0].first.d_v

    @property
    def window(self) -> int:
        """Keys that a row sees up to its own; 0 for all."""
        return self._members[0].first.window

    def seen(self, n: int) -> int:
        """Keys that a row sees in contexts of n keys, at most: what costs depend on."""
        return int(self._members[0].seen(n))

    @property
    def largest_n(self) -> int:
        return max(case.n for series in self._members for case in series.cases)

    def panel(self, selector: str) -> Panel:
        return Panel(self.title, self.lines[selector])

    def costs(self, selector: str) -> Costs | None:
        """None without formulas, as of a trained indexer in files that do not say how wide it is."""
        case = self.lines[selector][0].first if selector in self.lines else None
        return costs_of(selector, (case.index_heads, case.index_d) if case else (0, 0), self.d_v)

    def cases_at(self, selector: str, n: int) -> list[Case]:
        """One for each head."""
        return [case for series in self.lines[selector] for case in series.cases if case.n == n]


def side_by_side(series: Sequence[Series]) -> list[list[Series]]:
    """Lines with a VALID case over the same rows, where there is one of another selector than exact top-k."""
    groups: dict[tuple, list[Series]] = {}
    for one in sorted((s for s in series if s.cases), key=lambda s: order_of(s.selector)):
        groups.setdefault(rows_of(one), []).append(one)
    return [group for group in groups.values() if any(one.selector != EXACT for one in group)]


def _key(panel: Panel) -> tuple:
    return tuple(value for name, value in panel.first.identity.items() if name not in ("layer", "head", "selector"))


def selector_groups(series: Sequence[Series]) -> tuple[SelectorGroup, ...]:
    """Groups that hold a selector other than exact top-k, in the order of the series. VALID cases alone."""
    panels: dict[tuple, dict[str, Panel]] = {}
    for panel in group_panels(series):
        panels.setdefault(_key(panel), {})[panel.first.selector] = panel
    groups = []
    for by_name in panels.values():
        names = sorted(by_name.keys() - {EXACT}, key=order_of)
        if not names:
            continue
        lead = by_name.get(EXACT, by_name[names[0]])
        ending = "" if lead.first.selector == EXACT else f", {lead.first.selector}"
        count, window = len(lead.members), lead.first.first.window
        words = f"{lead.first.first.input}, {count} heads" if count > 1 else lead.first.title.removesuffix(ending)
        words += f", window of {window} keys" if window and f"window = {window}" not in words else ""
        groups.append(
            SelectorGroup(
                lead.title.removesuffix(ending),
                words,
                by_name[EXACT].members if EXACT in by_name else (),
                {name: by_name[name].members for name in names},
            )
        )
    return tuple(groups)
