"""What commands write: JSON, tables and fields of at most the terminal's width."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from volflow.views.words import clean, instant

PLAIN_WIDTH = 80
TERMINAL_WIDTH = 60
"""The least widths, without and with a terminal: an id is never broken or cut."""

FOLDED = ("NAME", "BACKEND")
"""Columns whose values may go on in the next line."""

STYLES = {
    "available": "green",
    "in-use": "green",
    "succeeded": "green",
    "done": "green",
    "ok": "green",
    "repaired": "green",
    "differs": "bold red",
    "error": "bold red",
    "failed": "bold red",
    "refused": "bold red",
    "needs_attention": "bold red",
    "rolled_back": "yellow",
    "undone": "yellow",
    "interrupted": "yellow",
    "held back": "yellow",
    "alive": "green",
    "dead": "bold red",
    "queued": "cyan",
    "waiting": "cyan",
    "running": "cyan",
    "reverting": "cyan",
    "attaching": "cyan",
    "detaching": "cyan",
}


def print_json(value: Any) -> None:
    """Write a value as JSON on standard output."""
    click.echo(to_json(value))


def to_json(value: Any) -> str:
    """Encode a value; times become ISO-8601 in UTC."""
    return json.dumps(value, indent=2, default=_encode, ensure_ascii=True)


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def styled(value: Any) -> Text:
    """Colour a word that tells a state."""
    text = clean(value)
    return Text(text, style=STYLES.get(text, ""))


def width() -> int:
    """Return how many columns there are to write to."""
    found = Console(file=sys.stdout).width
    return max(found, TERMINAL_WIDTH if sys.stdout.isatty() else PLAIN_WIDTH)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Write rows under their headings; what is too long goes on in the next line."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            name,
            overflow="fold",
            no_wrap=name not in FOLDED,
            justify="right" if name == "SIZE" else "left",
        )
    for row in rows:
        table.add_row(*(styled(value) for value in row))
    if table.row_count:
        show(table)
    else:
        click.echo(empty, err=True)


def print_fields(title: str, fields: Iterable[tuple[str, Any]], indent: int = 2) -> None:
    """Write names and values, one a line; a field without a value is left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in (None, ""):
            table.add_row(Text(" " * indent + name), styled(value))
    if title:
        show(Text(clean(title), style="bold"))
    show(table)


def show(what: RenderableType) -> None:
    """Write something of rich's, coloured where the output is a terminal."""
    click.echo(rendered(what, width(), terminal=sys.stdout.isatty()), nl=False)


def rendered(what: RenderableType, columns: int, *, terminal: bool) -> str:
    """Draw something of rich's, without spaces at the ends of lines."""
    # A console that writes to memory: rich handles a closed pipe by ending the process itself.
    console = Console(
        file=io.StringIO(),
        width=columns,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
        color_system="auto" if terminal else None,
    )
    console.print(what)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip(' ')}\n" for line in drawn.splitlines())
