"""What a newcomer reads: a short README, links that lead somewhere, one version."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEFT_OUT = {"build", "output", ".git", "node_modules"}
READMES = sorted(p for p in ROOT.rglob("README.md") if not LEFT_OUT & set(p.relative_to(ROOT).parts))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    without_code = re.sub(r"(?ms)^```.*?^```", "", text)
    titles = re.findall(r"(?m)^#+ (.+)$", without_code)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(document: pathlib.Path) -> list[str]:
    broken = []
    for link in LINK.findall(re.sub(r"(?ms)^```.*?^```", "", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in headings(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


@pytest.mark.parametrize("document", [*READMES, ROOT / "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: pathlib.Path) -> None:
    assert broken_links(document) == []


def test_broken_links_are_found(tmp_path: pathlib.Path) -> None:
    document = tmp_path / "README.md"
    text = "# One\n[a](#one) [b](#two) [c](none.md) [d](README.md) [e](https://example.org)\n"
    document.write_text(text, encoding="utf-8")
    assert broken_links(document) == ["#two", "none.md"]


def test_one_version() -> None:
    project = re.search(r"project\(asymptop VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    citation = re.search(r"(?m)^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    front = (ROOT / "analysis" / "asymptop" / "__init__.py").read_text(encoding="utf-8")
    package = re.search(r'(?m)^__version__ = "(\S+)"$', front)
    assert project
    assert citation
    assert package
    assert project[1] == citation[1] == package[1]
    assert not re.search(r'(?m)^version = "', (ROOT / "analysis/pyproject.toml").read_text(encoding="utf-8"))


def test_packages_are_those_of_the_set_up() -> None:
    """What README has a newcomer install by hand is what the set-up script installs."""
    by_hand = re.search(r"(?s)apt-get install (.+?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert by_hand
    names = set(by_hand[1].replace("\\", " ").split())
    script = (ROOT / "jobs" / "setup" / "debian.sh").read_text(encoding="utf-8")
    assert names - set(script.replace("\\", " ").split()) == set()
    assert len(names) > 10
