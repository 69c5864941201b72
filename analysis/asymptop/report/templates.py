"""The pages' HTML, from templates/: whatever a value holds is escaped, unless a template or prose() made it."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def prose(text: str) -> Markup:
    """Escaped text with powers set as superscripts."""
    return Markup(
        re.sub(
            r"\^\+?(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[-−]?\w+(?:\.\d+)?)",
            lambda m: f"<sup>{m[1].replace('-', '−')}</sup>",
            escape(text),
        )
    )


_TEMPLATES = Environment(
    loader=PackageLoader("asymptop.report"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.filters["prose"] = prose


def render(template: str, **values: object) -> Markup:
    """The template filled in; HTML among the values is Markup, anything else is text."""
    return Markup(_TEMPLATES.get_template(f"{template}.html").render(**values))


def macro(name: str, *arguments: object) -> Markup:
    """A piece of macros.html: badge, mark."""
    return Markup(getattr(_TEMPLATES.get_template("macros.html").module, name)(*arguments))


def badge(verdict: str) -> Markup:
    return macro("badge", verdict)
