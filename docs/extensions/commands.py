"""The reference of the command line, from its own help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from volflow.cli import exits, main

COMMON = ("config", "database", "json", "verbose", "help", "version")


def to_markdown() -> str:
    """Every command, with its arguments and options."""
    return "\n".join(line for path, command in walk(main) for line in _section(path, command))


def exits_to_markdown() -> str:
    """The exit codes, and the errors that end with each."""
    lines = ["| code | meaning | errors |", "|---|---|---|"]
    for row in sorted(exits.EXITS, key=lambda row: row.code):
        ours = [e.__name__ for e in row.errors if e.__module__.startswith("volflow")]
        names = ", ".join(f"`{name}`" for name in ours)
        lines.append(f"| {row.code} | {row.meaning} | {names} |")
    return "\n".join(lines)


def walk(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with what one types."""
    for name, command in sorted(group.commands.items()):
        path = (*before, name)
        if isinstance(command, click.Group):
            yield from walk(command, path)
        else:
            yield " ".join(("volflow", *path)), command


def _section(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path, help_option_names=["--help"])
    own = [p for p in command.params if p.name not in COMMON]
    usage = " ".join([path, *_usage(context, command)])
    yield f"\n## {path}\n\n```text\n{usage}\n```\n"
    yield _text(command.help or "")
    options = [p for p in own if isinstance(p, click.Option)]
    if options:
        yield "\n| option | |\n|---|---|"
    for option in options:
        names, help_ = option.get_help_record(context) or ("", "")
        yield f"| `{_cell(names)}` | {_cell(_text(help_))} |"


def _usage(context: click.Context, command: click.Command) -> list[str]:
    return [piece for piece in command.collect_usage_pieces(context) if piece]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(text: str) -> str:
    """Help as Markdown: an option or a word in capitals is what one types."""
    text = re.sub(r"(?<![`\w-])(--[a-z][a-z-]+)(?!`)", r"`\1`", inspect.cleandoc(text))
    return re.sub(r"(`volflow [^`]*)`(--[a-z-]+)`", r"\1\2", text)
