"""The demo's steps as they are told: a line each with its time, and what it showed."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from volflow.cli import output
from volflow.cli.timeline import print_timeline
from volflow.views.timeline import CallRun, timeline_json
from volflow.views.words import clean, took

INDENT = " " * 6


@dataclass
class Step:
    """One step of the demo.

    :ivar shown: what it found, as sentences.
    """

    title: str
    seconds: float = 0.0
    ok: bool = False
    shown: list[str] = field(default_factory=list)
    timeline: list[CallRun] = field(default_factory=list)

    def show(self, sentence: str) -> None:
        """Add what was found."""
        self.shown.append(sentence)


class Steps:
    """All steps, written as they end.

    :param quiet: write nothing; :meth:`as_json` tells it afterwards.
    :ivar mode: ``tgt`` or ``local``.
    :ivar kept: the directory that was kept, if it was.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.mode = "local"
        self.kept: str | None = None
        self._quiet = quiet
        self._steps: list[Step] = []
        self._not_shown: list[str] = []
        self._error: str | None = None
        self._began = time.monotonic()
        self._seconds: float | None = None

    @property
    def ok(self) -> bool:
        """True where nothing failed."""
        return self._error is None

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a step, and write it once it ended."""
        found = Step(title)
        self._steps.append(found)
        began = time.monotonic()
        try:
            yield found
            found.ok = True
        finally:
            found.seconds = time.monotonic() - began
            self._write(found)

    def say(self, sentence: str) -> None:
        """Write a sentence."""
        if not self._quiet:
            output.show(Text(sentence, style="bold"))

    def leave_out(self, what: str) -> None:
        """Name something that this run does not show."""
        self._not_shown.append(what)
        if not self._quiet:
            for line in textwrap.wrap(f"not shown: {what}", output.width()):
                output.show(Text(line, style="yellow"))

    def fail(self, error: BaseException) -> None:
        """Take the reason why it ended before its end."""
        self._error = f"{type(error).__name__}: {clean(error)}"

    def summarise(self) -> None:
        """Write the last line."""
        if self._quiet:
            return
        if self.kept:
            output.show(Text(f"\nkept: volflow --config {self.kept}/volflow.conf volume list"))
        line = f"{len(self._steps)} steps in {took(self._elapsed())}"
        if self._error is None:
            text = Text("\nok", style="bold green").append(
                f": {line}; nothing is stuck, nothing leaked", style="default"
            )
        else:
            text = Text("\nFAILED", style="bold red").append(
                f" in step {len(self._steps)}: {self._error}", style="default"
            )
        output.show(text)

    def as_json(self) -> dict[str, Any]:
        """Tell it all."""
        return {
            "ok": self.ok,
            "mode": self.mode,
            "error": self._error,
            "seconds": self._elapsed(),
            "not_shown": self._not_shown,
            "kept": self.kept,
            "steps": [
                {
                    "title": step.title,
                    "ok": step.ok,
                    "seconds": round(step.seconds, 6),
                    "shown": step.shown,
                    "timeline": timeline_json(step.timeline) if step.timeline else None,
                }
                for step in self._steps
            ],
        }

    def _elapsed(self) -> float:
        if self._seconds is None:
            self._seconds = round(time.monotonic() - self._began, 6)
        return self._seconds

    def _write(self, step: Step) -> None:
        if self._quiet:
            return
        columns = output.width()
        mark = Text("ok    ", style="green") if step.ok else Text("FAILED", style="bold red")
        line = Text(f"{len(self._steps):>3}  ").append_text(mark)
        output.show(line.append(f" {took(step.seconds):>8}  {step.title}"))
        for sentence in step.shown:
            for part in _wrapped(sentence, columns):
                output.show(Text(part, style="dim"))
        if step.timeline:
            print_timeline(step.timeline, indent=INDENT)


def _wrapped(sentence: str, columns: int) -> Sequence[str]:
    return textwrap.wrap(
        clean(sentence),
        columns,
        initial_indent=INDENT,
        subsequent_indent=INDENT + "  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
