"""Puts what is made from the code into the pages, before they are parsed.

A page has a fence ````{generated} NAME```` where it goes. In a repository's browser that is an
empty box, so that the sentence before it has to say what the site shows there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import commands
import faults
import pictures
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

TREE = Path(__file__).parents[2]


def of_the_tree(name: str) -> str:
    """A page that stands at the top of the tree, without its heading, as if it stood in docs."""
    _, _, text = (TREE / name).read_text("utf-8").partition("\n")
    return text.replace("](docs/", "](")


MADE: dict[str, Callable[[], str]] = {
    "changelog": partial(of_the_tree, "CHANGELOG.md"),
    "commands": commands.to_markdown,
    "contributing": partial(of_the_tree, "CONTRIBUTING.md"),
    "exit-codes": commands.exits_to_markdown,
    "faults": faults.to_markdown,
    "states": pictures.states,
}

_FENCE = re.compile(r"^```\{generated\} (\S+)\n```$", re.MULTILINE)
_ABOVE = re.compile(r"\]\(\.\./(CONTRIBUTING|CHANGELOG)\.md")
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.connect("source-read", _replace)
    return {"parallel_read_safe": True}


def _replace(app: Sphinx, page: str, source: list[str]) -> None:
    try:
        text = _FENCE.sub(lambda found: MADE[found[1]](), source[0])
        text = _ABOVE.sub(lambda found: f"]({found[1].lower()}.md", text)
        source[0] = _MERMAID.sub(lambda found: pictures.mermaid(found[1]), text)
    except KeyError as e:
        raise ExtensionError(f"{page}: nothing makes {e}") from None
    except (OSError, ValueError) as e:
        raise ExtensionError(f"{page}: {e}") from e
