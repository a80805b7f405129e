"""An operation's timeline for a terminal: one line a step, errors below their step."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

from volflow.cli import output
from volflow.views.timeline import CallRun
from volflow.views.words import clean, took


def print_timeline(calls: Sequence[CallRun], indent: str = "") -> None:
    """Write a timeline, one line a step; errors stand below their step."""
    days = {call.began_at.astimezone(UTC).date() for call in calls}
    form = "%H:%M:%S.%f" if len(days) < 2 else "%m-%d %H:%M:%S.%f"

    def line(at: datetime, name: str, seconds: float | None, result: str) -> None:
        text = Text(f"{indent}{at.astimezone(UTC).strftime(form)[:-3]}  {name:<32}")
        text.append(f"  {took(seconds):>9}  ").append_text(output.styled(result))
        output.show(text)

    head = len(f"{calls[0].began_at.astimezone(UTC).strftime(form)[:-3]}") if calls else 0
    if calls:
        title = f"{indent}{'TIME (UTC)':<{head}}  {'STEP':<32}  {'TOOK':>9}  RESULT"
        output.show(Text(title, style="bold"))
    for call in calls:
        name = clean(call.call or "operation")
        name += " (taken over)" if call.taken_over else ""
        line(call.began_at, name, call.seconds, call.result)
        for step in call.steps:
            name = f"  {'undo ' if step.undo else ''}{clean(step.step)}"
            line(step.began_at, name, step.seconds, step.result)
            if step.error:
                _print_error(step.error, f"{indent}{' ' * head}      ")


def _print_error(error: str, indent: str) -> None:
    columns = max(output.width(), len(indent) + 20)
    for line in textwrap.wrap(
        clean(error), columns, initial_indent=indent, subsequent_indent=indent
    ):
        output.show(Text(line, style="red"))
