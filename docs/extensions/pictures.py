"""Draws state diagrams as SVG, with Graphviz."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterable

from volflow import states as table
from volflow.models import TRANSITIONAL

Arrow = tuple[str, str, str]
"""From, to, when; a state without a name is where a volume is not there."""

WIDTH = 16
_ARROW = re.compile(r"^\s*(\S+) --> ([^\s:]+)(?:: (.*))?$", re.MULTILINE)


def states() -> str:
    """Draw what calls and rollbacks do to a volume's status, from the table in the code.

    What repairs do is left out, for a picture that can be read.

    :raises OSError: Graphviz is not there.
    """
    arrows = [(t.before or "", t.after or "", t.reason) for t in table.TRANSITIONS]
    return figure(arrow for arrow in arrows if not arrow[2].startswith("repair"))


def mermaid(text: str) -> str:
    """Draw a Mermaid state diagram that has nothing but arrows.

    :raises ValueError: it has something else.
    :raises OSError: Graphviz is not there.
    """
    first, *rest = text.splitlines()
    found = _ARROW.findall("\n".join(rest))
    if first != "stateDiagram-v2" or len(found) != len(rest):
        raise ValueError("only arrows of a stateDiagram-v2 can be drawn")
    arrows = [(_name(before), _name(after), reason) for before, after, reason in found]
    return figure(arrows)


def figure(arrows: Iterable[Arrow]) -> str:
    """Draw arrows as HTML, in the colours of the page; transitional states have broken lines."""
    svg = _svg("\n".join(_dot(arrows)))
    look = 'style="overflow-x: auto; margin: 1em 0"'
    return f'<figure {look} role="img" aria-label="The states of a volume">{svg}</figure>'


def _name(name: str) -> str:
    return "" if name == "[*]" else name.replace("_", "-")


def _dot(arrows: Iterable[Arrow]) -> Iterable[str]:
    yield "digraph states { nodesep=0.15; ranksep=0.45; bgcolor=transparent;"
    yield 'node [shape=box, style=rounded, fontname="sans-serif", fontsize=13];'
    yield 'edge [fontname="sans-serif", fontsize=10, arrowsize=0.7];'
    yield '"" [shape=point, width=0.13];'
    for state in sorted(map(str, TRANSITIONAL)):
        yield f'"{state}" [style="rounded,dashed"];'
    for before, after, reason in arrows:
        label = "\\n".join(f" {line} " for line in textwrap.wrap(reason.replace('"', "'"), WIDTH))
        look = "style=dotted, constraint=false, " if reason.startswith("repair") else ""
        yield f'"{before}" -> "{after}" [{look}label="{label}"];'
    yield "}"


def _svg(dot: str) -> str:
    drawn = subprocess.run(
        ["dot", "-Tsvg"],  # noqa: S607 - wherever it is
        input=dot,
        capture_output=True,
        text=True,
        check=False,
    )
    if drawn.returncode:
        raise ValueError(f"dot: {drawn.stderr}")
    svg = drawn.stdout[drawn.stdout.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n?|<title>.*?</title>\n?", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)
    svg = svg.replace('"black"', '"currentColor"').replace("<text ", '<text fill="currentColor" ')
    # A blank line would end the block of HTML.
    return re.sub(r"\n+", "\n", svg).strip()
